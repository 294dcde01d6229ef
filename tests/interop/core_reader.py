"""A small reader of ELF64 cores that shares no code with qmig: headers, notes, memory in order."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

_EHDR: Final = struct.Struct("<16sHHIQQQIHHHHHH")
_PHDR: Final = struct.Struct("<IIQQQQQQ")
_NHDR: Final = struct.Struct("<III")
_NOTE, _LOAD = 4, 1
_PIECE_LEN: Final = 1 << 20


@dataclass
class Load:
    """A PT_LOAD."""

    offset: int
    start: int
    length: int


@dataclass
class CoreHead:
    """What stands in front of the memory.

    Attributes:
        machine: e_machine.
        notes: (name, type, content), in order.
        loads: in order.
        position: bytes read so far.
    """

    machine: int
    notes: list[tuple[bytes, int, bytes]] = field(default_factory=list)
    loads: list[Load] = field(default_factory=list)
    position: int = 0

    def named(self, name: bytes) -> list[bytes]:
        """Return the contents of the notes of a name."""
        return [content for named, _, content in self.notes if named == name]

    def shown(self) -> list[tuple[int, int]]:
        """Return (start, end) of the memory, neighbours joined."""
        joined: list[tuple[int, int]] = []
        for load in sorted(self.loads, key=lambda one: one.start):
            if joined and joined[-1][1] == load.start:
                joined[-1] = (joined[-1][0], load.start + load.length)
            else:
                joined.append((load.start, load.start + load.length))
        return joined


def read_head(file: BinaryIO) -> CoreHead:
    """Read a core up to its memory; it may be a pipe."""
    header = _EHDR.unpack(_exactly(file, _EHDR.size))
    assert header[0][:7] == b"\x7fELF\x02\x01\x01"
    assert header[1] == 4
    head = CoreHead(header[2], position=_EHDR.size)
    _skip(file, head, header[5])
    notes = (0, 0)
    for _ in range(header[10]):
        kind, _, offset, vaddr, paddr, filesz, memsz, _ = _PHDR.unpack(_exactly(file, _PHDR.size))
        assert vaddr == paddr
        if kind == _NOTE:
            notes = (offset, filesz)
        elif kind == _LOAD:
            assert filesz == memsz
            head.loads.append(Load(offset, paddr, filesz))
    head.position += header[10] * _PHDR.size
    _skip(file, head, notes[0])
    data = _exactly(file, notes[1])
    head.position += notes[1]
    at = 0
    while at < len(data):
        name_len, content_len, kind = _NHDR.unpack_from(data, at)
        at += _NHDR.size
        name = data[at : at + name_len].rstrip(b"\0")
        at += name_len + -name_len % 4
        head.notes.append((name, kind, data[at : at + content_len]))
        at += content_len + -content_len % 4
    return head


def memory(file: BinaryIO, head: CoreHead) -> Iterator[tuple[int, bytes]]:
    """Yield (guest-physical address, bytes) of all memory, in the order of the file."""
    for load in sorted(head.loads, key=lambda one: one.offset):
        _skip(file, head, load.offset)
        at = 0
        while at < load.length:
            data = _exactly(file, min(_PIECE_LEN, load.length - at))
            yield load.start + at, data
            at += len(data)
        head.position += load.length


class CoreFile:
    """A core on a disk, read by guest-physical address."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self.head = read_head(self._file)

    def read(self, addr: int, length: int) -> bytes:
        """Return memory, which may lie in several PT_LOADs."""
        found = bytearray()
        while len(found) < length:
            at = addr + len(found)
            (load,) = (x for x in self.head.loads if x.start <= at < x.start + x.length)
            self._file.seek(load.offset + at - load.start)
            some = min(length - len(found), load.start + load.length - at)
            found += _exactly(self._file, some)
        return bytes(found)

    def close(self) -> None:
        """Close it."""
        self._file.close()


def _skip(file: BinaryIO, head: CoreHead, offset: int) -> None:
    assert offset >= head.position
    _exactly(file, offset - head.position)
    head.position = offset


def _exactly(file: BinaryIO, length: int) -> bytes:
    data = file.read(length)
    assert len(data) == length
    return data
