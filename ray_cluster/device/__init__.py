"""What must stay on the user's device: pictures in, pictures out, with the same networks, and no socket anywhere.

`operations.py` lists what there is; one file per noun does it. `mayfly local` is their command.
"""
