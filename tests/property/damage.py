"""Where to damage a fixture, and how: cuts and changed bytes, the same in every run."""

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import qmig
from qmig.capture.channel import Packet
from qmig.capture.container import Role
from qmig.capture.records import PageBatch
from tests.corpus import Item, streams

HEAD_LEN = 64  # of a record: the part that has lengths, counts, offsets and flags
LISTED_RUNS = 200  # of one batch


@dataclass
class Places:
    """Where the records of one file are.

    Attributes:
        path: the file.
        length: its length.
        role: what it is to the migration.
        boundaries: where records begin and end.
        heads: offset and length of the parts that are no bulk data.
        whole: lengths at which the file could end, as far as its own bytes tell.
        compressed: whether the stream is compressed as a whole, so that it has other offsets.
    """

    path: Path
    length: int
    role: Role = Role.MAIN
    boundaries: set[int] = field(default_factory=set)
    heads: list[tuple[int, int]] = field(default_factory=list)
    whole: set[int] = field(default_factory=set)
    compressed: bool = False


def places_of(files: list[Path]) -> list[Places]:
    """Find the places of all files of a capture."""
    found = {str(path): Places(path, path.stat().st_size) for path in files}
    with qmig.open_capture(*files) as capture:
        for container, items in streams(capture):
            places = found[container.path]
            places.role = container.role
            for span in container.spans:
                places.boundaries |= {span.offset, span.offset + span.length}
                places.heads.append((span.offset, min(span.length, HEAD_LEN)))
            places.compressed = container.compressed
            if container.compressed:
                start = max(places.boundaries, default=0)
                places.heads.append((start, HEAD_LEN))
                continue
            for item in items:
                note_item(places, item)
            if container.role is Role.CHANNEL:
                # Behind the initial packet; 25 bytes are one of 3.x.
                places.whole |= {min(places.boundaries - {0}), 25}
    return [found[str(path)] for path in files]


def note_item(places: Places, item: Item) -> None:
    """Note where a record is."""
    if isinstance(item, Packet):
        places.whole.add(item.payload_offset + item.payload_len)
        return
    end = item.offset + item.length
    places.boundaries |= {item.offset, end}
    places.heads.append((item.offset, min(item.length, HEAD_LEN)))
    if isinstance(item, PageBatch):
        places.boundaries |= {run.data_offset + run.payload_len for run in item.runs[:LISTED_RUNS]}
        if places.role is Role.PREEMPT:
            places.whole |= every_page_end(item)
    elif item.name == "EOF":
        places.whole.add(end)
    elif item.name in ("padding", "trailing data"):
        places.whole |= set(range(item.offset, end))


def every_page_end(batch: PageBatch) -> set[int]:
    """Return where each page record of a batch ends."""
    return {
        run.data_offset + i * run.stride_len + run.payload_len
        for run in batch.runs
        for i in range(run.count)
    }


class Damage:
    """Copies of a capture's files that can be damaged and mended again.

    Args:
        files: the files of the capture; they are not touched.
        folder: where the copies go.
        seed: of all choices.
    """

    def __init__(self, files: list[Path], folder: Path, seed: str) -> None:
        self.places = places_of(files)
        self.copies = [folder / path.name for path in files]
        for index in range(len(files)):
            self.mend(index)
        self._random = random.Random(seed)  # noqa: S311  # a choice that can be repeated

    def border_cuts(self, count: int) -> list[tuple[int, int]]:
        """Choose at most that many cuts at the borders of records: file and length."""
        every = sorted(
            (index, at)
            for index, places in enumerate(self.places)
            for at in places.boundaries
            if 0 < at < places.length
        )
        return self._random.sample(every, min(len(every), count))

    def random_cuts(self, count: int) -> list[tuple[int, int]]:
        """Choose that many cuts anywhere; every other one inside of what is no bulk data."""
        return [(index, max(1, at)) for index, at in self._bytes(count)]

    def flips(self, count: int) -> list[tuple[int, int, int]]:
        """Choose file, offset and byte; every other one in lengths, counts, offsets and flags."""
        values = (0, 1, 0x7F, 0x80, 0xFF, self._random.randrange(256))
        return [(index, at, self._random.choice(values)) for index, at in self._bytes(count)]

    def _bytes(self, count: int) -> Iterator[tuple[int, int]]:
        for number in range(count):
            index = number // 2 % len(self.places)
            places = self.places[index]
            at = self._random.randrange(places.length)
            if number % 2:
                start, length = self._random.choice(places.heads)
                at = min(places.length - 1, start + self._random.randrange(length))
            yield index, at

    def cut_copies(self, cuts: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
        """Yield cuts, from long to short, each with its copy cut there; mend behind the last."""
        for index in sorted({index for index, _ in cuts}):
            for length in sorted({at for cut, at in cuts if cut == index}, reverse=True):
                os.truncate(self.copies[index], length)
                yield index, length
            self.mend(index)

    @contextmanager
    def flipped(self, index: int, at: int, byte: int) -> Iterator[None]:
        """Change a byte of a copy while the context lasts."""
        with self.copies[index].open("r+b", buffering=0) as file:
            before = os.pread(file.fileno(), 1, at)
            os.pwrite(file.fileno(), bytes([byte if before[0] != byte else byte ^ 0x55]), at)
            try:
                yield
            finally:
                os.pwrite(file.fileno(), before, at)

    def mend(self, index: int) -> None:
        """Copy a file anew."""
        sparse_copy(self.places[index].path, self.copies[index])


def sparse_copy(path: Path, target: Path) -> None:
    """Copy a file with its holes."""
    tool = shutil.which("cp")
    if tool is None:
        raise FileNotFoundError("cp")
    subprocess.run([tool, "--sparse=always", str(path), str(target)], check=True)
