"""Make a raw dump of the main RAM block of a capture, its zero pages as holes.

    python raw_dump.py CAPTURE TARGET

In a process of its own, because it maps the capture, and a process inherits the peak memory of the
one that starts it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import qmig

BLOCK = "pc.ram"
GRAIN_LEN = 64 << 10


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Make a raw dump of a capture's main RAM block.")
    parser.add_argument("capture", type=Path)
    parser.add_argument("target", type=Path)
    arguments = parser.parse_args()
    partial = arguments.target.with_name(f"{arguments.target.name}.partial")
    with qmig.open_capture(arguments.capture) as capture, partial.open("wb") as out:
        addr = 0
        for piece in capture.ram[BLOCK].pieces():
            for start in range(0, len(piece), GRAIN_LEN):
                grain = piece[start : start + GRAIN_LEN]
                if grain.strip(b"\0"):
                    out.seek(addr + start)
                    out.write(grain)
            addr += len(piece)
        out.truncate(addr)
    partial.rename(arguments.target)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
