"""What moves on the bus and what is kept in the ledger: frozen, tagged msgspec structs; decoding is validation.

Every event and row is two parts: a clear header (random ids, class, state, deadline, object name: what a sweeper
needs after the key is dead) and a body sealed under a key of the vault. Fields are added, never changed.
"""
