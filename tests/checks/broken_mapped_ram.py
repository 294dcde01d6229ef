"""Files that break one rule of QM2xx each, built for the machine `none`, which can load them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from tests.builders import framing, mapped_ram, ram
from tests.builders.machine import around_mapped_ram
from tests.builders.mapped_ram import HEADER_LEN, MappedBlock
from tests.checks.broken_ram import (
    BLOCK,
    BLOCK_LEN,
    CONTENT,
    MACHINE,
    PAGE_LEN,
    PAGES,
    PART_HEAD_LEN,
)
from tests.checks.example import Broken, Example, Files, alone

_WHOLE: Final = MappedBlock(BLOCK, BLOCK_LEN, {1: CONTENT, 70: CONTENT})
# A block whose bitmap has bits behind its last page.
_ODD: Final = MappedBlock("odd", 3 * PAGE_LEN, {1: CONTENT})
_PAGES_OFFSET: Final = mapped_ram.PAGES_ALIGNMENT
# What stands in a header, from its front.
_PAGE_SIZE_AT, _BITMAP_OFFSET_AT, _PAGES_OFFSET_AT = 4, 12, 20


def _file(block: MappedBlock = _WHOLE, *, part: bytes = b"", file_offset: int = 0) -> bytes:
    head, rest = around_mapped_ram(machine=MACHINE, part=part)
    return mapped_ram.capture_bytes(head, [block], rest, file_offset=file_offset)


def _header_offset(block: MappedBlock = _WHOLE) -> int:
    """Return where the header of the block stands in a file."""
    head, _ = around_mapped_ram(machine=MACHINE)
    entry = ram.BlockEntry(block.name, block.used_length).build()
    return len(head) + len(ram.word(0, ram.MEM_SIZE)) + len(entry)


def _header(at: int, **wrong: Any) -> Broken:  # noqa: ANN401  # fields of MappedBlock
    return Broken(alone(_file(replace(_WHOLE, **wrong))), _header_offset() + at)


def _patched(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def _sound() -> Files:
    return alone(_file())


def _elsewhere() -> Broken:
    """Put the bitmap between header and pages, but not directly behind the header."""
    header = _header_offset()
    place = 0x8000
    data = _file(replace(_WHOLE, bitmap_offset=place))
    bits = mapped_ram.bitmap(_WHOLE.pages, PAGES)
    return Broken(alone(_patched(data, place, bits)), header + _BITMAP_OFFSET_AT)


def _in_the_bitmap() -> Broken:
    """Let the pages begin inside the bitmap."""
    offset = _header_offset() + HEADER_LEN
    return _header(_BITMAP_OFFSET_AT, bitmap_offset=offset - HEADER_LEN)


def _near() -> Broken:
    """Let the pages begin at the next page, as if nothing were aligned to 1 MiB."""
    data = _file(replace(_WHOLE, pages_offset=PAGE_LEN))
    gap = _PAGES_OFFSET - PAGE_LEN
    return Broken(
        alone(data[:PAGE_LEN] + data[PAGE_LEN + gap :]), _header_offset() + _PAGES_OFFSET_AT
    )


def _unaligned() -> Broken:
    data = _file(replace(_WHOLE, pages_offset=_PAGES_OFFSET + 8))
    moved = data[:_PAGES_OFFSET] + bytes(8) + data[_PAGES_OFFSET:]
    return Broken(alone(moved), _header_offset() + _PAGES_OFFSET_AT)


def _moved() -> Broken:
    at = 0x3000
    data = _file(file_offset=at)[at:]
    return Broken(alone(data), _header_offset() + _BITMAP_OFFSET_AT)


def _cut(length: int, offset: int) -> Broken:
    return Broken(alone(_file()[:length]), offset)


def _word(word: bytes) -> Broken:
    # Behind the pages: EOS, footer, and the head of the part.
    start = _PAGES_OFFSET + BLOCK_LEN + len(ram.eos()) + len(framing.section_footer(0))
    return Broken(alone(_file(part=word + ram.eos())), start + PART_HEAD_LEN)


def _padding() -> Broken:
    data = _file(_ODD)
    bitmap = _header_offset(_ODD) + HEADER_LEN
    return Broken(alone(_patched(data, bitmap, b"\x82")), bitmap)


def _empty() -> Broken:
    data = _file(replace(_WHOLE, set_pages=frozenset(), pages={}))
    return Broken(alone(data), _header_offset() + HEADER_LEN)


def _stale() -> Broken:
    data = _file(replace(_WHOLE, set_pages=frozenset({70})))
    return Broken(alone(data), _PAGES_OFFSET + PAGE_LEN)


def _hole() -> Broken:
    data = _file(replace(_WHOLE, set_pages=frozenset({1, 70, 300})))
    return Broken(alone(data), _PAGES_OFFSET + 300 * PAGE_LEN)


EXAMPLES: Final[Mapping[str, Example]] = {
    "QM201": Example(lambda: _header(0, version=2), _sound),
    "QM202": Example(lambda: _header(0, version=0), _sound),
    "QM203": Example(lambda: _header(_PAGE_SIZE_AT, page_size=0), _sound),
    "QM204": Example(lambda: _header(_PAGE_SIZE_AT, page_size=2 * PAGE_LEN), _sound),
    "QM205": Example(_unaligned, _sound),
    "QM206": Example(_near, _sound),
    "QM207": Example(_elsewhere, _sound),
    "QM208": Example(_in_the_bitmap, _sound),
    "QM209": Example(_moved, _sound),
    "QM210": Example(
        lambda: _cut(_header_offset() + HEADER_LEN + 10, _header_offset() + HEADER_LEN), _sound
    ),
    "QM211": Example(lambda: _cut(_PAGES_OFFSET + 100, _PAGES_OFFSET), _sound),
    "QM217": Example(lambda: _cut(_PAGES_OFFSET + 80 * PAGE_LEN, _PAGES_OFFSET), _sound),
    "QM212": Example(lambda: _word(ram.multifd_flush()), _sound),
    "QM213": Example(_padding, lambda: alone(_file(_ODD))),
    "QM214": Example(_empty, _sound),
    "QM215": Example(_stale, _sound),
    "QM216": Example(_hole, _sound),
}
