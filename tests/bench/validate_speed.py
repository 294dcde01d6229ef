"""Measure `qmig validate` against `qmig inspect` and `zstd -dc`, and judge it by fixed bars.

    python validate_speed.py DIRECTORY

DIRECTORY holds the captures of make_guest.py. All run as whole processes, by turns. Of a multifd
zstd set, which `qmig save` makes here, `zstd` gets the same payloads, each channel's in one file.
Exit code 1 when a bar is missed, 3 when it could not be measured.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

from processes import RunFailedError, compare, keep_cached

import qmig
from qmig.capture.channel import Packet

CAPTURES: Final = ("linux-2g.mapped", "linux-2g.mig")
RATIO: Final = 3.0
PEAK_MIB: Final = 200.0
ORDINARY: Final = "linux-2g.mig"
CHANNELS: Final = 2
ZSTD_RATIO: Final = 1.3
# The frame of a channel is never ended: this is an empty last block (RFC 8878, 3.1.1.2).
LAST_BLOCK: Final = bytes((1, 0, 0))


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


def _write_payloads(files: list[Path], directory: Path) -> list[Path]:
    """Write the payloads of each channel as a file that zstd takes."""
    written: list[Path] = []
    with qmig.open_capture(*files) as capture:
        for container in capture.channel_files:
            written.append(directory / f"payload-{len(written)}.zst")
            with written[-1].open("wb") as out:
                for item in capture.channel_records(container):
                    if isinstance(item, Packet) and item.payload_len:
                        out.write(container.source.read_at(item.payload_offset, item.payload_len))
                out.write(LAST_BLOCK)
    return written


def _measure_zstd(directory: Path, runs: int) -> bool:
    zstd = shutil.which("zstd")
    if zstd is None:
        raise RunFailedError("zstd is not installed")
    program = str(Path(sys.executable).parent / "qmig")
    with tempfile.TemporaryDirectory(prefix="qmig-", dir=directory) as scratch:
        main = Path(scratch, "set")
        qmig.save(
            directory / ORDINARY, main, format="multifd", channels=CHANNELS, compression="zstd"
        )
        files = [main, *(Path(f"{main}.ch{channel}") for channel in range(CHANNELS))]
        payloads = _write_payloads(files, Path(scratch))
        for path in (*files, *payloads):
            keep_cached(path)
        unpack = f"exec {zstd} -dcq {' '.join(map(str, payloads))} >/dev/null"
        commands = [[program, "validate", *map(str, files)], ["/bin/sh", "-c", unpack]]
        ours, theirs = compare(commands, runs=runs, path=None)
        total_len = sum(path.stat().st_size for path in payloads)
    ratio = ours.median / theirs.median
    met = ratio <= ZSTD_RATIO
    print(
        f"multifd zstd, {total_len / 1e6:.0f} MB of payloads: validate {ours.median:.3f} s "
        f"({ours.shortest:.3f}), zstd -dc {theirs.median:.3f} s ({theirs.shortest:.3f}), "
        "medians (shortest)"
    )
    print(
        f"{'met   ' if met else 'MISSED'} multifd zstd: {ratio:.2f} times zstd -dc, "
        f"bar: at most {ZSTD_RATIO:g}; peak {ours.peak_mib:.0f} MiB"
    )
    return met


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Measure qmig validate and judge it by its bars.")
    parser.add_argument("directory", type=Path, help="captures of make_guest.py")
    parser.add_argument("--runs", type=int, default=5, help="counted runs of each command")
    arguments = parser.parse_args()
    try:
        met = _measure(arguments.directory, arguments.runs)
        met = _measure_zstd(arguments.directory, arguments.runs) and met
    except (RunFailedError, OSError) as error:
        print(f"validate_speed: {error}", file=sys.stderr)
        return 3
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
