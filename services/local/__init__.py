"""The embedded stack: Kafka, S3 and a Ray head as child processes of one Python program.

`stack.py` boots them and `children.py` ends them, whatever happens. Nothing here is for production: Kafka speaks
plaintext on loopback, one broker holds the only replica, and the secrets are made afresh for each boot.
"""
