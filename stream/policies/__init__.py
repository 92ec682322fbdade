"""Promises as data: each app's published policy is one TOML file, and nobody writes a retention number in code.

vocabulary → the closed lists of words; model → what a policy is; compiler → TOML to `Policy`, or errors that name the
line; deadlines → when a thing must be gone; verdict → whether a request may begin. All pure but for reading files.
The language is described in docs/promises.md.
"""
