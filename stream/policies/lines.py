"""Where in a TOML file a value stands: tomllib does not tell, and an error without its line is half an error."""

from __future__ import annotations

import re
from collections import Counter

_HEADER = re.compile(r"\s*\[{1,2}\s*([\w-]+)\s*\]{1,2}\s*(#.*)?$")
_KEY = re.compile(r"\s*([\w-]+)\s*=")
_PATH = re.compile(r"\$?\.?(?P<table>[\w-]+)(?:\[(?P<index>\d+)\](?:\.(?P<key>[\w-]+))?)?")


class Lines:
    """Line numbers, from 1, of the keys of a policy file: top-level keys, and those of its tables and arrays of them.

    Values are not parsed: a line inside a long string that looks like a key can hide nothing, since the first wins.
    """

    def __init__(self, text: str) -> None:
        self._lines: dict[tuple[str, int, str], int] = {}
        tables: Counter[str] = Counter()
        table, index = "", 0
        self._text = text.splitlines()
        for number, line in enumerate(self._text, start=1):
            if header := _HEADER.match(line):
                table = header[1]
                index = tables[table]
                tables[table] += 1
                self._lines[table, index, ""] = number
            elif key := _KEY.match(line):
                self._lines.setdefault((table, index, key[1]), number)

    def of(self, table: str, index: int = 0, key: str = "") -> int:
        """The line of a key in the `index`-th `[[table]]`, else of that table's header, else 1."""
        return self._lines.get((table, index, key)) or self._lines.get((table, index, "")) or 1

    def saying(self, word: str) -> int:
        """The first line in which this value stands, quoted; else 1."""
        return next((n for n, line in enumerate(self._text, start=1) if f'"{word}"' in line), 1)

    def extent(self, table: str, index: int = 0) -> tuple[int, int]:
        """(first, last) line of the `index`-th `[[table]]`, comments after it included; (0, 0) where there is none."""
        first = self._lines.get((table, index, ""))
        if first is None:
            return 0, 0
        later = [line for (_, _, key), line in self._lines.items() if not key and line > first]
        return first, min(later, default=len(self._text) + 1) - 1

    def at(self, path: str) -> int:
        """The line of a path as msgspec writes it: `$.promise[2].clock[0]`, or `$.title` for a top-level key."""
        match = _PATH.match(path)
        if match is None:
            return 1
        top_level = self._lines.get(("", 0, match["table"]))
        if top_level or match["index"] is None:
            return top_level or self.of(match["table"])
        return self.of(match["table"], int(match["index"]), match["key"] or "")
