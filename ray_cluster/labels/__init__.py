"""What goes in is looked at, what goes out is labelled: rules for each app, and the marks themselves.

`guard.py`, one folder up, puts both around every engine's run. Read `rules.toml`, then `label.py`.
"""
