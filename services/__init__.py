"""Processes: the only place where parts are wired together.

`gateway` (the public API), `worker` with `owner_api` (Faust, estates, Ray), `local` (the embedded stack and the system
on it), `demo` (a client of the API), `cli` and its parts (`mayfly`), `settings` (what every process is told).
"""
