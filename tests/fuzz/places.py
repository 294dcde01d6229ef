"""Where the fields of a capture's records are, from the schemas that they were read by."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from construct import Array

import qmig
from qmig.capture.channel import Packet
from qmig.capture.records import PageBatch
from qmig.capture.stream import StreamWalk
from qmig.errors import QmigError
from qmig.wire.libvirt import LibvirtSaveHeader
from qmig.wire.lzop import LzopBlockLen, LzopHead, LzopMode, LzopStoredLen
from qmig.wire.magic import LZOP_MAGIC
from qmig.wire.record import Counted, WireRecord, field_table, fixed_len, has_counted, plain
from tests.corpus import Item, streams
from tests.fuzz.gapped import Files, GappedFile, write_files
from tests.sources import BytesSource

# Fields that a reader believes: sizes, numbers of things, places, what kind of thing it is.
_TELLING: Final = re.compile(
    r"len|size|count|offset|addr|word|flag|pages|id$|type|version|command|bits|magic|format|number"
    r"|alloc|used|total|start|sectors|valid|index|ranges|blocks|devices"
)


class Place(NamedTuple):
    """A field.

    Attributes:
        file: index of the file.
        offset: where it is in the data of that file (gaps left out).
        length: its bytes.
        record: the record's class.
        field: its name; "length of X" for the count of a counted field.
    """

    file: int
    offset: int
    length: int
    record: str
    field: str

    @property
    def telling(self) -> bool:
        """Whether it is a length, a count, an offset, flags or the like."""
        return _TELLING.search(self.field) is not None


def fields_of(record: WireRecord) -> Iterator[tuple[str, int, int]]:
    """Yield name, offset and length of each field of a record, those behind counted ones, too."""
    at = 0
    for subcon in type(record).SCHEMA.subcons:
        inner = plain(subcon)
        if isinstance(inner, Counted):
            head_len = int(inner.lengthfield.sizeof())
            yield f"length of {subcon.name}", at, head_len
            length = len(getattr(record, subcon.name))
            yield subcon.name, at + head_len, length
            at += head_len + length
        elif isinstance(inner, Array):
            yield subcon.name, at, int(inner.sizeof())
            at += int(inner.sizeof())
        else:
            yield subcon.name, at, int(inner.sizeof())
            at += int(inner.sizeof())


def places_of(files: Files, folder: Path) -> list[Place]:
    """Find the fields of a capture; those of what is compressed are out of reach."""
    paths = write_files(files, folder)
    index_of = {str(path): index for index, path in enumerate(paths)}
    found: list[Place] = []
    try:
        with qmig.open_capture(*paths) as capture:
            for container, items in streams(capture, careful=True):
                index = index_of[container.path]
                if container.libvirt is not None:
                    found += _of_class(files, index, LibvirtSaveHeader, 0)
                if container.compressed:
                    head = container.outer.read_at(0, 4096)
                    for record, at in _lzop_places(container.layers, head):
                        found += _of_class(files, index, record, at)
                    continue
                found += _of_items(items, index, files[index])
    except QmigError:
        return found
    return found


def places_of_stream(data: bytes) -> list[Place]:
    """Find the fields of a main stream alone, as far as it can be read."""
    walk = StreamWalk(BytesSource(data), 0, careful=True)
    return list(_of_items(walk.records(), 0, GappedFile(data)))


def _of_items(items: Iterable[Item], index: int, file: GappedFile) -> Iterator[Place]:
    for item in items:
        if isinstance(item, PageBatch | Packet) or item.wire is None:
            continue
        for field, at, length in fields_of(item.wire):
            kept = file.kept_offset(item.offset + at)
            if kept is not None and length:
                yield Place(index, kept, length, type(item.wire).__name__, field)


def _of_class(files: Files, index: int, record: type[WireRecord], offset: int) -> Iterator[Place]:
    for field, (at, length) in field_table(record).items():
        kept = files[index].kept_offset(offset + at)
        if kept is not None:
            yield Place(index, kept, length, record.__name__, field)


def _lzop_places(layers: list[str], data: bytes) -> Iterator[tuple[type[WireRecord], int]]:
    if "lzop" not in layers:
        return
    at = data.find(LZOP_MAGIC)
    # Of a pipe's name there is nothing, so the header is as long as that of an empty name.
    mode_len = len(LzopMode(mode=0, mtime_low=0, mtime_high=0, name=b"", checksum=0).build())
    for record in (LzopHead, LzopMode, LzopBlockLen, LzopStoredLen):
        yield record, at
        at += mode_len if has_counted(record) else fixed_len(record)
