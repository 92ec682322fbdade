"""Faust moves events; the ledger remembers; the vault forgets; policies decide how long."""
