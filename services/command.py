"""`mayfly`: which command line it is, decided before anything is imported that opens a socket.

Importing some HTTP clients opens one, to see whether there is IPv6. `mayfly local` promises to open none.
"""

from __future__ import annotations

import sys


def main() -> int:
    """Run one command; its exit status."""
    if sys.argv[1:2] == ["local"]:
        from services import cli_local  # noqa: PLC0415

        return cli_local.main()
    from services import cli  # noqa: PLC0415

    return cli.main()
