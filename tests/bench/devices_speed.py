"""Measure `qmig devices --json` of all devices, and judge it by fixed bars.

    python devices_speed.py DIRECTORY

DIRECTORY holds the captures of make_guest.py. Whole processes are timed. Exit code 1 when a bar is
missed, 3 when it could not be measured.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from processes import RunFailedError, compare, keep_cached

CAPTURES = ("linux-2g.mig", "linux-2g-live.mig", "linux-2g.mapped")
SECONDS = 1.0
PEAK_MIB = 200.0
# Each capture ends with this device, so an output that is not whole is not taken for fast.
EXPECTED_WORDS = "globalstate"


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Measure qmig devices and judge it by its bars.")
    parser.add_argument("directory", type=Path, help="captures of make_guest.py")
    parser.add_argument("--runs", type=int, default=5, help="counted runs of each command")
    arguments = parser.parse_args()
    met = True
    try:
        for name in CAPTURES:
            path: Path = arguments.directory / name
            keep_cached(path)
            command = [sys.executable, "-m", "qmig", "devices", "--json", str(path)]
            (samples,) = compare(
                [command], runs=arguments.runs, path=path, expected_words=EXPECTED_WORDS
            )
            good = samples.median <= SECONDS and samples.peak_mib <= PEAK_MIB
            print(
                f"{'met   ' if good else 'MISSED'} {name}: median {samples.median:.3f} s, "
                f"bar: {SECONDS:g} s; peak {samples.peak_mib:.0f} MiB, bar: {PEAK_MIB:g} MiB"
            )
            met = met and good
    except (RunFailedError, subprocess.CalledProcessError, OSError) as error:
        print(f"devices_speed: {error}", file=sys.stderr)
        return 3
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
