"""docs/erasure.md claims that its list of what stays in clear is complete: every field of every header is in it."""

import re
from pathlib import Path
from typing import get_args

import msgspec

from stream.events import bus, rows

PAGE = Path(__file__).parent.parent.parent / "docs" / "erasure.md"
_LINE = re.compile(r"\| `(\w+)` \| ((?:`\w+`(?:, )?)+) \|")


def test_every_field_in_clear_is_a_named_residue():
    listed = {name: re.findall(r"`(\w+)`", fields) for name, fields in _LINE.findall(PAGE.read_text())}
    headers = (*get_args(rows.Row), *get_args(bus.Event))
    assert listed == {kind.__name__: [field.name for field in msgspec.structs.fields(kind)] for kind in headers}
