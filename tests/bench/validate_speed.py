"""Measure `qmig validate` against `qmig inspect`, and judge it by fixed bars.

    python validate_speed.py DIRECTORY

DIRECTORY holds the captures of make_guest.py. Both run as whole processes, by turns. Exit code 1
when a bar is missed, 3 when it could not be measured.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

from processes import RunFailedError, compare, keep_cached

CAPTURES: Final = ("linux-2g.mapped", "linux-2g.mig")
RATIO: Final = 3.0
PEAK_MIB: Final = 200.0


def _measure(directory: Path, runs: int) -> bool:
    qmig = str(Path(sys.executable).parent / "qmig")
    all_met = True
    for name in CAPTURES:
        path = directory / name
        keep_cached(path)
        commands = [[qmig, verb, str(path)] for verb in ("validate", "inspect")]
        # The name of the file is all that both print.
        ours, inspect = compare(commands, runs=runs, path=path, expected_words=name)
        ratio = ours.median / inspect.median
        print(f"{name}: validate {ours.median:.3f} s, inspect {inspect.median:.3f} s (medians)")
        for met, text in (
            (ratio <= RATIO, f"{ratio:.2f} times inspect, bar: at most {RATIO:g}"),
            (ours.peak_mib <= PEAK_MIB, f"peak {ours.peak_mib:.0f} MiB, bar: {PEAK_MIB:g} MiB"),
        ):
            print(f"{'met   ' if met else 'MISSED'} {name}: {text}")
            all_met = all_met and met
    return all_met


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Measure qmig validate and judge it by its bars.")
    parser.add_argument("directory", type=Path, help="captures of make_guest.py")
    parser.add_argument("--runs", type=int, default=5, help="counted runs of each command")
    arguments = parser.parse_args()
    try:
        return 0 if _measure(arguments.directory, arguments.runs) else 1
    except (RunFailedError, OSError) as error:
        print(f"validate_speed: {error}", file=sys.stderr)
        return 3


if __name__ == "__main__":
    sys.exit(main())
