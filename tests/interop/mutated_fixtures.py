"""Real captures with one field changed each; what a real QEMU does to them is asked of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import qmig
from fixtures.catalogue import write_with_holes
from qmig.capture.channel import ChannelWalk
from qmig.capture.records import Record
from qmig.wire.record import field_table

Change = Callable[[bytes], bytes]


@dataclass(frozen=True)
class Mutation:
    """One change in one capture.

    Attributes:
        fixture: name of the capture.
        record: name of the record that is changed.
        field: the field in it; or where it begins in the record, for bytes without a schema.
        change: gives the new bytes from the old ones.
        nth: which of the records of that name; negative: from the end.
        file: which of the files.
        rule: the rule that it breaks; empty: it breaks none that is more than a note.
        says: what a real 10.0 prints; empty: nothing, or what is not to be told from a file.
    """

    fixture: str
    record: str
    field: str | tuple[int, int]
    change: Change
    nth: int = 0
    file: int = 0
    rule: str = ""
    says: str = ""


def mutated(mutation: Mutation, files: Sequence[Path], directory: Path) -> list[Path]:
    """Write the files of a capture with a mutation; return their paths."""
    records = [
        record for record in _records(files, mutation.file) if record.name == mutation.record
    ]
    record = records[mutation.nth]
    if isinstance(mutation.field, str):
        at, length = field_table(type(record.wire))[mutation.field]  # type: ignore[arg-type]
    else:
        at, length = mutation.field
    paths = []
    for number, file in enumerate(files):
        data = bytearray(file.read_bytes())
        if number == mutation.file:
            begin = record.offset + at
            new = mutation.change(bytes(data[begin : begin + length]))
            assert len(new) == length
            assert new != data[begin : begin + length]
            data[begin : begin + length] = new
        paths.append(directory / file.name)
        with paths[-1].open("wb") as stream:
            write_with_holes(stream, bytes(data))
            stream.truncate(len(data))
    return paths


def _records(files: Sequence[Path], number: int) -> Iterator[Record]:
    with qmig.open_capture(*files) as capture:
        if not number:
            yield from (i for i in capture.records(careful=True) if isinstance(i, Record))
            return
        path = str(files[number])
        container = next(file for file in capture.channel_files if file.path == path)
        walk = ChannelWalk(container.source, container.stream_offset)
        yield from (item for item in walk.items() if isinstance(item, Record))


def to(value: int) -> Change:
    """Give the change to another number."""
    return lambda old: value.to_bytes(len(old), "big")


def flip(mask: int) -> Change:
    """Give the change of some bits of a number."""
    return lambda old: (int.from_bytes(old, "big") ^ mask).to_bytes(len(old), "big")


def add(number: int) -> Change:
    """Give the change by a number."""
    return lambda old: (int.from_bytes(old, "big") + number).to_bytes(len(old), "big")


_ORDINARY: Final = "qemu-10.0-ordinary"
_MAPPED: Final = "qemu-10.0-mapped-live"
_MULTIFD: Final = "qemu-10.0-multifd-none"
_ZLIB: Final = "qemu-10.0-multifd-zlib"
_UUID: Final = "qemu-10.0-uuid"
_XBZRLE: Final = "qemu-10.0-xbzrle"
_BITMAPS: Final = "qemu-10.0-dirty-bitmap"
_POSTCOPY: Final = "qemu-10.0-postcopy"
_UNKNOWN: Final = (
    "Make sure that your current VM setup matches your saved VM setup, including any hotplugged "
    "devices"
)
_HEAD: Final = "section header"
_FOOTER: Final = "section footer"
_NAME_LEN_AT: Final = (5, 1)  # of an idstr, behind type and id
_DEVICE: Final = 9  # a device whose name is a word, among the headers

FRAMING: Final[Mapping[str, Mutation]] = {
    "first footer's mark": Mutation(
        _ORDINARY, _FOOTER, "mark", to(0), rule="QM017", says="Missing section footer for ram"
    ),
    "second footer's mark": Mutation(
        _ORDINARY, _FOOTER, "mark", to(0x7F), 1, rule="QM017", says="Missing section footer for ram"
    ),
    "mark of a device's footer": Mutation(
        _ORDINARY, _FOOTER, "mark", to(0), 3, rule="QM017", says="Missing section footer for timer"
    ),
    "mark of the first footer of a multifd set": Mutation(
        _MULTIFD, _FOOTER, "mark", to(0xFF), rule="QM017", says="Missing section footer for ram"
    ),
    "id in a device's footer": Mutation(
        _ORDINARY, _FOOTER, "section_id", to(0x211), 3, rule="QM018",
        says="Mismatched section id in footer for timer - read 0x211 expected 0x0",
    ),
    "id in a device's header": Mutation(
        _ORDINARY, _HEAD, "section_id", add(1), 3, rule="QM018",
        says="Mismatched section id in footer for timer - read 0x0 expected 0x1",
    ),
    "id of a PART": Mutation(
        _ORDINARY, _HEAD, "section_id", to(0x80000001), 1, rule="QM011",
        says="Unknown savevm section -2147483647",
    ),
    "id 0 of a PART": Mutation(_ORDINARY, _HEAD, "section_id", to(0), 1, rule="QM011"),
    "id of END": Mutation(
        _ORDINARY, _HEAD, "section_id", to(9), 2, rule="QM011", says="Unknown savevm section 9"
    ),
    "length of ram's name": Mutation(
        _ORDINARY, _HEAD, _NAME_LEN_AT, to(0x83), rule="QM012",
        says=f"Unknown savevm section or instance 'ram' 1952657249. {_UNKNOWN}",
    ),
    "letter of a device's name": Mutation(
        _ORDINARY, _HEAD, (6, 1), to(ord("T")), 3, rule="QM417",
        says=f"Unknown savevm section or instance 'Timer' 0. {_UNKNOWN}",
    ),
    "START instead of EOF": Mutation(_ORDINARY, "EOF", "type", to(1), rule="QM015"),
    "version of a device": Mutation(
        _ORDINARY, _HEAD, (15, 4), to(0x7FFF), 3, rule="QM411",
        says="savevm: unsupported version 32767 for 'timer' v2",
    ),
    "PART becomes END": Mutation(_ORDINARY, _HEAD, "type", to(3), 1, rule="QM026"),
    "type of an element": Mutation(
        _ORDINARY, _HEAD, "type", to(0xFF), 2, rule="QM010",
        says="Unknown savevm section type 255",
    ),
    "number of a command": Mutation(
        _ORDINARY, "command", "command", to(0x10B), rule="QM040",
        says="MIG_CMD 0x10b unknown (len 0x0)",
    ),
    "length of a command": Mutation(
        _ORDINARY, "command", "len", to(3), rule="QM041",
        says="SWITCHOVER_START received with bad length - expecting 0, got 3",
    ),
    "length of the vmdescription": Mutation(
        _ORDINARY, "vmdescription", "length", flip(1 << 14), rule="QM401"
    ),
    "letter of the vmdescription": Mutation(
        _ORDINARY, "vmdescription JSON", (0, 1), to(ord("}")), rule="QM403"
    ),
    "version 257 of a configuration subsection": Mutation(
        _UUID, "configuration subsection", (20, 4), to(257)
    ),
    "version 256 of a configuration subsection": Mutation(
        _UUID, "configuration subsection", (20, 4), to(256), rule="QM008",
        says="configuration/uuid: incoming version_id 0 is too old for local minimum version_id  1",
    ),
    "first letter of a configuration subsection": Mutation(
        _UUID, "configuration subsection", (2, 1), to(ord("x")), rule="QM007",
        says="Unknown savevm section type 5",
    ),
    "last letter of a configuration subsection": Mutation(
        _UUID, "configuration subsection", (19, 1), to(ord("x")), rule="QM007"
    ),
    "letter of a capability": Mutation(
        _MAPPED, "configuration/capabilities", (3, 1), to(0), 1, rule="QM006",
        says="Received unknown capability ma",
    ),
}  # fmt: skip

RAM: Final[Mapping[str, Mutation]] = {
    "flags of the first word": Mutation(
        _ORDINARY, "RAM word", "word", flip(1), rule="QM101",
        says="Unknown combination of migration flags: 0x5",
    ),
    "flag of 0x100 in the first word": Mutation(
        _ORDINARY, "RAM word", "word", flip(0x100), rule="QM101",
        says="Unknown combination of migration flags: 0x104",
    ),
    "all bits of the first word": Mutation(
        _ORDINARY, "RAM word", "word", to((1 << 64) - 1), rule="QM101",
        says="Ack, bad migration stream!",
    ),
    "total": Mutation(
        _ORDINARY, "RAM word", "word", add(0x1000), rule="QM103",
        says='Unknown ramblock "", cannot accept migration',
    ),
    "EOS of the block list": Mutation(
        _ORDINARY, "RAM word", "word", flip(0x800), 1, rule="QM110",
        says="Unknown combination of migration flags: 0x810",
    ),
    "offset in EOS": Mutation(_ORDINARY, "RAM word", "word", flip(0x1000), 1, rule="QM124"),
    "flag FULL in an EOS of XBZRLE": Mutation(
        _XBZRLE, "RAM word", "word", flip(1), 2, rule="QM110",
        says="Unknown combination of migration flags: 0x11",
    ),
}  # fmt: skip

MAPPED: Final[Mapping[str, Mutation]] = {
    "mapped-ram: version -1": Mutation(
        _MAPPED, "mapped-ram header", "version", to((1 << 32) - 1), rule="QM201",
        says="Migration mapped-ram capability version not supported (expected <= 1, got -1)",
    ),
    "mapped-ram: page size 0 in a later block": Mutation(
        _MAPPED, "mapped-ram header", "page_size", to(0), 2, rule="QM203"
    ),
    "mapped-ram: half the page size": Mutation(
        _MAPPED, "mapped-ram header", "page_size", to(2048), rule="QM204"
    ),
    "mapped-ram: pages_offset of half a page": Mutation(
        _MAPPED, "mapped-ram header", "pages_offset", add(0x800), rule="QM205",
        says="Error reading ramblock pc.ram pages, region has bad alignment",
    ),
    "mapped-ram: pages_offset below zero": Mutation(
        _MAPPED, "mapped-ram header", "pages_offset", flip(1 << 63), rule="QM211",
        says="(pc.ram) failed to read page 0from file offset 8000000000100000: "
        "Unable to read from file: Invalid argument",
    ),
    "mapped-ram: bitmap_offset": Mutation(
        _MAPPED, "mapped-ram header", "bitmap_offset", flip(1 << 40), rule="QM210",
        says="Error reading dirty bitmap",
    ),
    "mapped-ram: all bits of a word": Mutation(
        _MAPPED, "RAM word", "word", to((1 << 64) - 1), -1, rule="QM212",
        says="Unexpected RAM flags: 714",
    ),
    "mapped-ram: unknown flag beside EOS": Mutation(
        _MAPPED, "RAM word", "word", flip(0x800), -1, rule="QM110",
        says="Unknown combination of migration flags: 0x810",
    ),
    "mapped-ram: PAGE in the first word": Mutation(
        _MAPPED, "RAM word", "word", flip(8), rule="QM101", says="Unexpected RAM flags: 8"
    ),
    "mapped-ram: a bit more": Mutation(_MAPPED, "mapped-ram bitmap", (0, 1), flip(0xFF)),
}  # fmt: skip

MULTIFD: Final[Mapping[str, Mutation]] = {
    "multifd: version of the initial packet": Mutation(
        _MULTIFD, "multifd initial packet", "version", to(7), file=1, rule="QM300",
        says="failed to receive packet via multifd channel 0: multifd: received packet version 7 "
        "expected 1",
    ),
    "multifd: packet's magic": Mutation(
        _MULTIFD, "multifd packet header", "magic", flip(1), 2, 1, rule="QM310",
        says="multifd: received packet magic 11223345, expected 11223344",
    ),
    "multifd: packet's version": Mutation(
        _MULTIFD, "multifd packet header", "version", to(0), 1, 2, rule="QM311",
        says="multifd: received packet version 0, expected 1",
    ),
    "multifd: pages_alloc": Mutation(
        _MULTIFD, "multifd packet header", "pages_alloc", to(0x8000_0000), 1, 1, rule="QM315",
        says="multifd: received packet with 2147483648 pages, expected 128",
    ),
    "multifd: SYNC dropped": Mutation(
        _MULTIFD, "multifd packet header", "flags", to(0), -1, 1, rule="QM340"
    ),
    "multifd: packet number": Mutation(
        _MULTIFD, "multifd packet header", "packet_num", flip(1 << 40), 2, 1, rule="QM333"
    ),
    "multifd: block": Mutation(
        _MULTIFD, "multifd packet header", "ramblock", lambda old: b"q" + old[1:], 1, 1,
        rule="QM318",
        says="multifd: unknown ram block qc.ram",
    ),
    "multifd: zlib becomes zstd": Mutation(
        _ZLIB, "multifd packet header", "flags", to(4), 4, 1, rule="QM312",
        says="multifd 0: flags received 4 flags expected 2",
    ),
}  # fmt: skip

OTHERS: Final[Mapping[str, Mutation]] = {
    "dirty bitmap: flags": Mutation(
        _BITMAPS, "dirty-bitmap start", "flags", to(0xFF), rule="QM420",
        says="Unknown flags in migrated dirty bitmap header: ff",
    ),
    "dirty bitmap: granularity": Mutation(
        _BITMAPS, "dirty-bitmap start", "granularity", flip(1 << 31), rule="QM421"
    ),
    "dirty bitmap: start of bits": Mutation(
        _BITMAPS, "dirty-bitmap bits", "start_sector", add(1), rule="QM422"
    ),
    "postcopy: page sizes of RAM": Mutation(
        _POSTCOPY, "command payload", "page_size_summary", add(1), 1, rule="QM046",
        says="Postcopy needs matching RAM page sizes (s=1001 d=1000)",
    ),
    "postcopy: target page size": Mutation(
        _POSTCOPY, "command payload", "target_page_size", add(1), 1, rule="QM046",
        says="Postcopy needs matching target page sizes (s=4097 d=4096)",
    ),
}  # fmt: skip


def _older(release: str) -> Mapping[str, Mutation]:
    """Give what is the same in releases before 10.0."""
    ordinary, live = f"qemu-{release}-ordinary", f"qemu-{release}-xbzrle"
    changes = {
        "first footer's mark": Mutation(
            ordinary, _FOOTER, "mark", to(0), rule="QM017", says="Missing section footer for ram"
        ),
        "id in a device's header": Mutation(
            ordinary, _HEAD, "section_id", add(1), 3, rule="QM018",
            says="Mismatched section id in footer for timer - read 0x0 expected 0x1",
        ),
        "id of a PART": Mutation(
            ordinary, _HEAD, "section_id", to(0x80000001), 1, rule="QM011",
            says="Unknown savevm section -2147483647",
        ),
        "length of ram's name": Mutation(ordinary, _HEAD, _NAME_LEN_AT, to(0x83), rule="QM012"),
        "version of the file": Mutation(
            ordinary, "file header", "version", to(4), rule="QM002",
            says="Unsupported migration stream version",
        ),
        "flags of the first word": Mutation(ordinary, "RAM word", "word", flip(1), rule="QM101"),
        "offset in EOS": Mutation(ordinary, "RAM word", "word", flip(0x1000), 1, rule="QM124"),
        "EOF": Mutation(
            live, "EOF", "type", to(0xFF), rule="QM010", says="Unknown savevm section type 255"
        ),
    }  # fmt: skip
    return {f"{release}: {name}": mutation for name, mutation in changes.items()}


MUTATIONS: Final[Mapping[str, Mutation]] = {
    **FRAMING,
    **RAM,
    **MAPPED,
    **MULTIFD,
    **OTHERS,
    **_older("7.2"),
    **_older("5.2"),
}
