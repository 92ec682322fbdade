"""Is what the engines make good? Each figure with the bar that it has to pass.

    python -m benchmarks.quality [--photos DIR] [--only NAME ...]

The last line is one JSON object: `{"checks": [{"name", "value", "bar", "ok", "about"}], "photos", "skipped"}`; the exit
status says whether all are ok. Files in DIR that are no photographs are skipped and counted.

A new check is a function of a `Bench` in a module here, and a line in CHECKS.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import msgspec

from benchmarks.quality import looks, marks, people
from benchmarks.quality.check import Bench, Checker

CHECKS: tuple[Checker, ...] = (
    looks.identity_stylization,
    looks.identity_quality_enhance,
    looks.cutout_sad_vs_u2netp,
    looks.enhance_psnr_gain_db,
    looks.video_flicker_vs_per_frame,
    marks.label_survives_jpeg60,
    marks.label_survives_resize,
    marks.label_found_unmarked,
    people.identity_clothing_change,
    people.identity_expression,
    people.face_swap_to_source,
    people.skin_untouched_by_clothing,
    people.dance_loop_seam,
    people.dance_background_change,
)


def main() -> int:
    """Run them one after another; each is told on standard error as it ends."""
    names = [check.__name__ for check in CHECKS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality")
    parser.add_argument("--photos", type=Path, help="a folder of photographs to use instead of the bundled ones")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    args = parser.parse_args()
    bench = Bench(args.photos)
    made = []
    for check in CHECKS:
        if check.__name__ in args.only:
            made.append(check(bench))
            print(made[-1], file=sys.stderr)
    whole = {"checks": msgspec.to_builtins(made), "photos": len(bench.photos), "skipped": bench.skipped}
    print(json.dumps(whole))
    return 0 if all(check.ok for check in made) else 1


if __name__ == "__main__":
    sys.exit(main())
