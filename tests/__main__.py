"""Every test, in two processes at once; then how much of stream/ all of them covered.

python -m tests

What needs the booted stack mostly waits for others; what needs none computes. So neither waits for the other, and there
is still one stack. Progress is shown as it comes, what each part reports when it ends as one piece. The exit code is 0
if both passed and enough is covered.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time

PARTS = {
    "stack": ("-m", "stack and not heavy", "--ignore=tests/unit"),  # 4000 tests to collect, none of which has a stack
    "others": ("-m", "not stack and not heavy"),
}
COVERED_PERCENT = 90
RULE = "====="  # begins the head of a report, and everything after its progress

_telling = threading.Lock()


class Part(threading.Thread):
    """One run of pytest; `code` and the last line it wrote, once joined."""

    def __init__(self, name: str, options: tuple[str, ...]) -> None:
        super().__init__(name=name)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "coverage", "run", "-m", "pytest", *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        self.code, self.last = -1, "nothing"

    def run(self) -> None:
        """Each line of its progress at once, the rest together."""
        began, rules, held = time.monotonic(), 0, [""]
        assert self.process.stdout is not None
        for line in self.process.stdout:
            rules += line.startswith(RULE)
            if rules > 1:
                held.append(line)
            else:
                tell(f"{self.name:6}  {line}")
            self.last = line.strip("=\n ") or self.last
        self.code = self.process.wait()
        took_s = time.monotonic() - began
        tell("".join(held) + f"{self.name}: exit code {self.code} after {took_s:.0f} s\n\n")


def tell(words: str) -> None:
    """To whoever waits, whole and at once."""
    with _telling:
        sys.stdout.write(words)
        sys.stdout.flush()


def coverage(*words: str) -> int:
    """The exit code of `coverage …`."""
    return subprocess.run([sys.executable, "-m", "coverage", *words], check=False).returncode


def main() -> int:
    """Run both; the first exit code that is not 0."""
    coverage("erase")
    parts = [Part(*each) for each in PARTS.items()]

    def end(*_: object) -> None:
        for part in parts:
            part.process.send_signal(signal.SIGTERM)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends ^C to all of us, and both parts clean up
    for part in parts:
        part.start()
    for part in parts:
        part.join()
    for part in parts:
        tell(f"{part.name}: {part.last}\n")
    if codes := [part.code for part in parts if part.code]:
        return codes[0] if codes[0] > 0 else 128 - codes[0]
    return coverage("combine", "--quiet") or coverage("report", "--skip-covered", f"--fail-under={COVERED_PERCENT}")


if __name__ == "__main__":
    raise SystemExit(main())
