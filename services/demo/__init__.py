"""`mayfly demo`: a client of the HTTP API lives through the main job, and looks behind the API whether promises hold.

`story.py` is the main job in order; `client.py` is all it may say to the gateway, `witness.py` all it looks at behind
it. `terms.py` says what was promised, `erasure.py` whether it was kept; both are pure. `table.py`, `sheet.py` and
`report.py` tell people and programs; `run.py` boots the system and wires the rest.
"""
