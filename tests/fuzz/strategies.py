"""Hypothesis strategies: streams built from the schemas, and then broken field by field.

`records(schema)` builds any record with any values. `schema_streams` puts such records one behind
another where a stream has them; `main_streams` builds whole ones, sound, of drawn parts; and
`broken` puts wrong values into fields of either, lengths, counts, offsets and flags first.
"""

import tempfile
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar

from construct import Array, Bytes, Const, FormatField, Renamed
from hypothesis import strategies as st

from qmig.wire import framing as wire
from qmig.wire import live
from qmig.wire.mapped_ram import MappedRamHeader
from qmig.wire.ram import (
    CompressPageHead,
    FillByte,
    RamBlockAddr,
    RamBlockPageSize,
    RamBlockRecord,
    RamPageName,
    RamSaveFlag,
    RamWord,
    XbzrleHead,
)
from qmig.wire.record import Counted, WireRecord, plain
from tests.builders import commands, framing, handlers, ram, vmdesc, xbzrle
from tests.builders.machine import RELEASES, MainStream
from tests.fuzz.built import BUILDERS
from tests.fuzz.gapped import Files, GappedFile
from tests.fuzz.mutate import Seed
from tests.fuzz.places import Place, places_of, places_of_stream

R = TypeVar("R", bound=WireRecord)

_PAGE_LEN: Final = 256
_IN_SECTIONS: Final[tuple[type[WireRecord], ...]] = (
    RamWord, RamBlockRecord, RamBlockPageSize, RamBlockAddr, RamPageName, FillByte, XbzrleHead,
    CompressPageHead, MappedRamHeader, live.DirtyBitmapName, live.DirtyBitmapStart,
    live.DirtyBitmapBits, live.DirtyBitmapBuffer, live.HtabHead, live.HtabChunk, live.StattribWord,
    live.StattribCount, live.BlockWord, live.VfioWord,
)  # fmt: skip
_ELEMENTS: Final[tuple[type[WireRecord], ...]] = (
    wire.SectionHead, wire.PartHead, wire.FooterRecord, wire.CommandHead, wire.PingPayload,
    wire.PostcopyAdvisePayload, wire.RamDiscardHead, wire.RamDiscardRange, wire.PackagedPayload,
    wire.RecvBitmapPayload, wire.EofRecord, wire.VmDescriptionHead, wire.ConfigurationRecord,
    wire.SubsectionHead, wire.CapabilitiesHead, wire.CapabilityName,
)  # fmt: skip
_LIVE: Final = ("ram", "dirty-bitmap", "block", "spapr/htab", "s390-storage_attributes", "x/vfio")


# -- values ---------------------------------------------------------------------------------------


@cache
def integers(length: int) -> st.SearchStrategy[int]:
    """Numbers of so many bytes: those at the borders of something first."""
    bits = 8 * length
    borders = {0, 1, 2, (1 << bits) - 1, 1 << (bits - 1), (1 << (bits - 1)) - 1}
    borders |= {(1 << at) for at in range(bits)} | {(1 << at) - 1 for at in range(1, bits)}
    return st.sampled_from(sorted(borders)) | st.integers(0, (1 << bits) - 1)


_NAMES: Final = st.sampled_from([b"ram", b"", b"\xff", b"\x1b[2J", b"a/b", b"timer", b"n" * 255])


def _of_subcon(subcon: Any) -> st.SearchStrategy[Any] | None:  # noqa: ANN401  # construct
    while isinstance(subcon, Renamed):
        subcon = subcon.subcon
    if isinstance(subcon, Const):
        return None
    inner = plain(subcon)
    if isinstance(inner, Counted):
        return _NAMES | st.binary(max_size=8)
    if isinstance(inner, Array):
        return st.lists(integers(inner.subcon.sizeof()), min_size=inner.count, max_size=inner.count)
    if isinstance(inner, Bytes):
        return st.binary(min_size=inner.sizeof(), max_size=inner.sizeof())
    assert isinstance(inner, FormatField), inner
    return integers(inner.sizeof())


def records(record: type[R]) -> st.SearchStrategy[R]:
    """Records of a class, with any values that its schema can build."""
    fields = {subcon.name: _of_subcon(subcon) for subcon in record.SCHEMA.subcons}
    drawn = {name: values for name, values in fields.items() if values is not None}
    return st.fixed_dictionaries(drawn).map(lambda values: record(**values))


@cache
def _built(schemas: tuple[type[WireRecord], ...]) -> st.SearchStrategy[bytes]:
    return st.one_of([records(schema) for schema in schemas]).map(lambda record: record.build())


@st.composite
def schema_streams(draw: st.DrawFn) -> bytes:
    """Streams of records with any values, in any order, behind a sound header."""
    parts = [wire.FileHeader(version=wire.QEMU_VM_FILE_VERSION).build()]
    if draw(st.booleans()):
        parts.append(framing.configuration("none"))
    for name in draw(st.lists(st.sampled_from(_LIVE), max_size=2)):
        body = draw(st.lists(_built(_IN_SECTIONS), max_size=4))
        parts.append(framing.section_start(1, name, b"".join(body)))
    if draw(st.booleans()):
        parts.append(_section_with_records(draw))
    parts += draw(st.lists(_built(_ELEMENTS), max_size=4))
    return b"".join(parts)


def _section_with_records(draw: st.DrawFn) -> bytes:
    """Return a RAM section whose block list is sound and whose page records are drawn."""
    blocks = [ram.BlockEntry("ram", 16 * _PAGE_LEN)]
    flags = st.lists(st.sampled_from(list(RamSaveFlag)), max_size=3).map(sum)
    body = [ram.block_list(blocks, tail=b"")]
    for _ in range(draw(st.integers(0, 4))):
        addr = draw(st.integers(0, 20)) * _PAGE_LEN
        body.append(ram.word(addr, int(draw(flags)) & (_PAGE_LEN - 1)))
        body.append(draw(_built(_IN_SECTIONS) | st.just(bytes(_PAGE_LEN))))
    return framing.section_start(2, "ram", b"".join(body) + ram.eos())


# -- sound streams --------------------------------------------------------------------------------


@st.composite
def main_streams(draw: st.DrawFn) -> bytes:
    """Sound main streams of drawn parts."""
    subsections = [
        framing.target_page_bits(8),
        *draw(st.lists(st.sampled_from([framing.guest_uuid(b"u" * 16)]), max_size=1)),
    ]
    main = MainStream(
        draw(st.sampled_from(sorted(RELEASES))),
        draw(st.sampled_from(["none", "pc-i440fx-10.0", "pseries-7.2"])),
        page_size=_PAGE_LEN,
        subsections=subsections,
        footers=draw(st.booleans()),
    )
    for command in draw(st.lists(_commands(), max_size=2)):
        main.add(command)
    blocks = {
        f"block{number}": draw(st.integers(1, 6)) for number in range(draw(st.integers(1, 3)))
    }
    entries = [ram.BlockEntry(name, pages * _PAGE_LEN) for name, pages in blocks.items()]
    main.ram_start(ram.block_list(entries))
    for _ in range(draw(st.integers(0, 2))):
        main.ram_part(_page_records(draw, blocks))
    _live_sections(draw, main)
    main.switchover()
    main.ram_end(_page_records(draw, blocks))
    body = draw(st.binary(max_size=40))
    main.device(vmdesc.old_style_device("some", len(body)), body)
    main.standard_devices()
    return main.finish(describe=draw(st.booleans()), trailing=draw(st.binary(max_size=9)))


@cache
def _commands() -> st.SearchStrategy[bytes]:
    ranges = st.lists(st.tuples(integers(8), integers(8)), max_size=3)
    return st.one_of(
        integers(4).map(commands.ping),
        st.just(commands.open_return_path()),
        st.builds(commands.postcopy_advise, integers(8), integers(4)),
        ranges.map(lambda drawn: commands.postcopy_ram_discard("block0", drawn)),
        st.builds(commands.command, integers(2), st.binary(max_size=12)),
    )


def _page_records(draw: st.DrawFn, blocks: dict[str, int]) -> bytes:
    parts = []
    for name, pages in blocks.items():
        for index in draw(st.lists(st.integers(0, pages - 1), max_size=3)):
            addr = index * _PAGE_LEN
            kind = draw(st.integers(0, 3))
            page = bytes([draw(st.integers(0, 255))]) * (_PAGE_LEN - 1) + b"."
            if kind == 0:
                parts.append(ram.zero(addr, name))
            elif kind == 1:
                parts.append(ram.page(addr, page, name))
            elif kind == 2:
                parts.append(ram.compress_page(addr, page, name))
            else:
                delta = xbzrle.encode(bytes(_PAGE_LEN), page)
                parts.append(ram.page(addr, bytes(_PAGE_LEN), name) + ram.xbzrle(addr, delta))
    return b"".join(parts)


def _live_sections(draw: st.DrawFn, main: MainStream) -> None:
    for name in draw(st.lists(st.sampled_from(sorted(_LIVE_BODIES)), max_size=2, unique=True)):
        number, start, part = _LIVE_BODIES[name]
        main.start(number, name, start, 1)
        main.part(number, part)
        main.end(number, part)


_LIVE_BODIES: Final = {
    "dirty-bitmap": (
        10,
        handlers.bitmap_eos(),
        handlers.bitmap_start("d", "b") + handlers.bitmap_bits(0, 64, b"\1" * 32)
        + handlers.bitmap_complete() + handlers.bitmap_eos(),
    ),
    "block": (11, handlers.block_eos(), handlers.block_chunk("d", 0, None) + handlers.block_eos()),
    "spapr/htab": (12, handlers.htab_start(18), handlers.htab_part([(0, b"\1" * 16, 2)])),
    "s390-storage_attributes": (
        13, handlers.storage_attributes([]), handlers.storage_attributes([(0, b"\1" * 8)])
    ),
    "x/vfio": (14, handlers.vfio_setup(), handlers.vfio_part([b"data"])),
}  # fmt: skip


@cache
def known(name: str) -> Seed:
    """Return a built capture of `tests.fuzz.built` with its fields."""
    files = BUILDERS[name]()
    with tempfile.TemporaryDirectory() as folder:
        return Seed(name, files, places_of(files, Path(folder)))


# -- breaking -------------------------------------------------------------------------------------


@st.composite
def broken(draw: st.DrawFn, captures: st.SearchStrategy[Seed] | None = None) -> Files:
    """Captures with one to three fields broken, and now and then a cut.

    Args:
        draw: of hypothesis.
        captures: what to break; by default drawn main streams and every kind of built capture.
    """
    seed = draw(captures or sound())
    data = [bytearray(file.data) for file in seed.files]
    telling = [place for place in seed.places if place.telling]
    for _ in range(draw(st.integers(1, 3)) if seed.places else 0):
        place = draw(st.sampled_from(telling or list(seed.places)))
        data[place.file][place.offset : place.offset + place.length] = draw(_values(place, seed))
    if draw(st.integers(0, 9)) == 0:
        index = draw(st.integers(0, len(data) - 1))
        del data[index][draw(st.integers(0, len(data[index]))) :]
    return tuple(
        GappedFile(bytes(changed), file.gaps)
        for changed, file in zip(data, seed.files, strict=True)
    )


def sound() -> st.SearchStrategy[Seed]:
    """Sound captures with their fields."""
    drawn = main_streams().map(
        lambda data: Seed("drawn", (GappedFile(data),), places_of_stream(data))
    )
    return drawn | st.sampled_from(sorted(BUILDERS)).map(known)


def _values(place: Place, seed: Seed) -> st.SearchStrategy[bytes]:
    """Values for a field: any, those at borders, and those near the one that stands there."""
    if place.length not in (1, 2, 4, 8):
        return st.binary(min_size=place.length, max_size=place.length)
    length = place.length
    now = seed.files[place.file].data[place.offset : place.offset + length]
    old = int.from_bytes(now, "big")
    near = st.integers(-9, 9).map(lambda step: (old + step) % (1 << 8 * length))
    flipped = st.integers(0, 8 * length - 1).map(lambda bit: old ^ 1 << bit)
    return (integers(length) | near | flipped).map(lambda value: value.to_bytes(length, "big"))
