"""The leaf of a disclosure: a case handed out so many things, on such a paper. It names keys and counts, and nobody.

`case` commits to the signed case, as a hold's does. Beside it lies a grant's leaf for each key that was released.
"""

from __future__ import annotations

import msgspec

from stream.audit.receipts import VERSION


class Disclosure(msgspec.Struct, frozen=True, kw_only=True, tag="disclosure", tag_field="kind"):
    """In the commit before anything is handed out. `approvers`: the ids of the keys that signed the case."""

    version: int = VERSION
    partition: int
    case: str
    app: str
    document: str
    classes: tuple[str, ...]
    count: int
    approvers: tuple[str, ...]
