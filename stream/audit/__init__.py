"""Evidence: a tamper-evident log per partition (merkle, checkpoint, log), receipts of erasures and leaves of access.

merkle.py, checkpoint.py and tiles.py are the published formats (RFC 9162, C2SP); receipts.py, grants.py and
signing_key.py say what a leaf means; log.py is the owner's side, which appends and serves; receipt_file.py is the
user's and verify.py the auditor's, which trust nobody.
"""
