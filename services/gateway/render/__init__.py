"""RAM-only apps: pictures in, results back on the same connection, and nothing of it anywhere else.

`form` takes a body apart, `picture` seals one image onto the `Shelf` while it is looked at, `session` finds it an actor
through a worker, `tickets` lets that actor fetch and bring ciphertext, `answer` sends what was made. `rendering` holds
them together for the time of one request. docs/render.md says what callers see.
"""
