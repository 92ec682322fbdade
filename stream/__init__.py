"""Faust moves events; the ledger remembers; the vault forgets; policies decide how long.

From below: `errors`, `clock` and `ids`; `events` (what moves and what is kept); `policies` (promises as data); `vault`
(seals and keys), `audit` (receipts), `metrics`, `topics`, `ledger` (one transaction for all of it); `agents` on top.
"""
