"""Write the same output again and again, as fast as it goes, until something ends the process.

`python -m tests.migrate.save_for_ever KIND OUT` prints a line when it begins. Each output holds its
generation and its own checksum: `read_generation` tells what it finds.
"""

import contextlib
import itertools
import struct
import sys
import threading
import time
import zlib
from pathlib import Path

import numpy as np

from qmig.errors import OutputError
from qmig.migrate.interrupt import StopOnSignals, StopRequested
from qmig.migrate.output import AtomicFile
from qmig.migrate.output_set import AtomicSet

HEAD = struct.Struct("<QQLL")  # process, generation, bytes behind, their checksum
PIECE_LEN = 64 * 1024
PIECES = 16
CHANNELS = 3


def channel_paths(out: Path) -> list[Path]:
    return [out.with_name(f"{out.name}.{channel}") for channel in range(CHANNELS)]


def read_generation(path: Path) -> tuple[int, int] | None:
    """Return process and generation of a file; None where it does not read as complete."""
    data = path.read_bytes()
    if len(data) < HEAD.size:
        return None
    process, generation, length, checksum = HEAD.unpack_from(data)
    body = data[HEAD.size :]
    if len(body) != length or zlib.crc32(body) != checksum:
        return None
    return process, generation


def fill(file: AtomicFile, process: int, generation: int) -> None:
    """Write an output by two threads; its head comes last, as a mapped-ram file's bitmaps do."""
    pieces = [np.random.default_rng([generation, i]).bytes(PIECE_LEN) for i in range(PIECES)]

    def write(first: int) -> None:
        with contextlib.suppress(OutputError):  # the main thread has given the file up
            for index in range(first, PIECES, 2):
                file.pwrite(pieces[index], HEAD.size + index * PIECE_LEN)

    workers = [threading.Thread(target=write, args=(first,), daemon=True) for first in (0, 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    body = b"".join(pieces)
    file.pwrite(HEAD.pack(process, generation, len(body), zlib.crc32(body)), 0)


def save_once(kind: str, out: Path, process: int, generation: int) -> None:
    anonymous = kind != "named"
    if kind == "set":
        with AtomicSet(force=True) as outputs:
            for path in (out, *channel_paths(out)):
                fill(outputs.open(path), process, generation)
            outputs.commit()
    else:
        with AtomicFile(out, force=True, anonymous=anonymous) as file:
            fill(file, process, generation)
            file.commit()


def main() -> int:
    kind, out = sys.argv[1], Path(sys.argv[2])
    process = time.monotonic_ns()
    try:
        with StopOnSignals():
            for generation in itertools.count():
                save_once(kind, out, process, generation)
                if generation == 0:
                    print("begun", flush=True)
    except StopRequested as stop:
        return 128 + stop.signum
    return 0


if __name__ == "__main__":
    sys.exit(main())
