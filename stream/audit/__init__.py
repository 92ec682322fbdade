"""Evidence: a tamper-evident log per partition (merkle, checkpoint, log), receipts of erasures and leaves of access.

merkle.py and checkpoint.py are the published formats (RFC 9162, C2SP); receipts.py and grants.py say what a leaf
means; log.py is the owner's side, which appends and serves; verify.py is the user's, which trusts nobody.
"""
