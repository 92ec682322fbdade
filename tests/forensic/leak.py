"""The control: a process that keeps two lines in its memory, the second also in a file without a name."""

from __future__ import annotations

import sys
import tempfile

if __name__ == "__main__":
    kept = sys.stdin.buffer.readline().rstrip(b"\n")
    with tempfile.TemporaryFile() as file:
        file.write(sys.stdin.buffer.readline().rstrip(b"\n"))
        file.flush()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.buffer.read()
