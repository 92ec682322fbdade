"""The vault: sealing, custody and keys. It hands out keys, and it forgets them; media only passes through, sealed.

Read in this order: `secret` (what hides its repr), `stream_seal` (media), `record` (bodies of rows and events),
`envelope` (a key for one recipient), `presign`, `courier` and `custody` (where ciphertext waits), then where keys
live and die: `keynode`, `keytree`, `rootstore` (of files, or in `openbao`), `pages`.
`docs/sealing.md` gives every format byte by byte, with test vectors.
"""
