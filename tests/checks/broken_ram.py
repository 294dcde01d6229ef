"""Streams that break one rule of QM1xx each, built for the machine `none`, which can load them."""

import zlib
from collections.abc import Callable, Mapping
from typing import Final

from tests.builders import commands, framing, ram, xbzrle
from tests.builders.machine import MainStream
from tests.checks.example import Broken, Example, Files, alone

MACHINE: Final = "none"
BLOCK: Final = "ram"
PAGE_LEN: Final = 4096
PAGES: Final = 1024
BLOCK_LEN: Final = PAGES * PAGE_LEN
CONTENT: Final = bytes(range(256)) * 16
PART_HEAD_LEN: Final = len(framing.section_part(0, b"", footer=b""))
_WORD_LEN: Final = 8
_NAME_LEN: Final = 1 + len(BLOCK)
_XBZRLE_HEAD_LEN: Final = 3
_ENTRY: Final = ram.BlockEntry(BLOCK, BLOCK_LEN)
_DELTA: Final = xbzrle.encode(CONTENT, b"new!" + CONTENT[4:])


def first_round(pages: int = PAGES) -> bytes:
    """Build records of the whole block, or of its first pages."""
    zeros = (ram.zero(at * PAGE_LEN) for at in range(1, pages))
    return ram.page(0, CONTENT, BLOCK) + b"".join(zeros)


def started(block_list: bytes | None = None) -> MainStream:
    """Begin a stream with its block list."""
    main = MainStream("10.0", MACHINE)
    main.ram_start(ram.block_list([_ENTRY]) if block_list is None else block_list)
    return main


def ended(main: MainStream) -> bytes:
    """End a stream as QEMU does."""
    main.switchover()
    main.ram_end()
    main.standard_devices()
    return main.finish()


def _with(records: bytes, at: int = 0, *, before: bytes | None = None, tail: bytes = b"") -> Broken:
    """Build a stream with records in a part of their own; `at` is what is wrong in them.

    Args:
        records: the records, up to the word that ends the part.
        at: offset in them.
        before: what was sent in a part before; None: all pages.
        tail: what is sent in the last part, instead of nothing.
    """
    main = started()
    main.ram_part(first_round() if before is None else before)
    start = len(main.unfinished()) + PART_HEAD_LEN
    main.ram_part(records)
    if tail:
        main.ram_part(tail)
    return Broken(alone(ended(main)), start + at)


def _sound(records: bytes = b"") -> Callable[[], Files]:
    return lambda: _with(records).files


def _block_list(body: bytes, at: int) -> Broken:
    """Build a stream of nothing but a block list."""
    main = MainStream("10.0", MACHINE)
    head = framing.section_head(framing.SECTION_START, main.release.ram_id, "ram")
    start = len(main.unfinished()) + len(head)
    main.ram_start(body)
    return Broken(alone(ended(main)), start + at)


def _opening() -> Broken:
    body = ram.word(BLOCK_LEN, ram.FULL) + _ENTRY.build() + ram.eos()
    return _block_list(body, 0)


def _total(total: int, at: int) -> Broken:
    return _block_list(ram.block_list([_ENTRY], total=total), at)


def _cut_list() -> Broken:
    files, start, _ = _block_list(ram.block_list([_ENTRY]), _WORD_LEN)
    return Broken(alone(files["main"][: start + 2]), start)


def _same_name() -> Broken:
    main = MainStream("10.0", MACHINE)
    head = framing.section_head(framing.SECTION_START, main.release.ram_id, "ram")
    start = len(main.unfinished()) + len(head) + _WORD_LEN + len(_ENTRY.build())
    main.ram_start(ram.block_list([_ENTRY, _ENTRY]))
    main.ram_part(first_round())
    return Broken(alone(ended(main)), start)


def _other_name() -> Files:
    blocks = [ram.BlockEntry(name, BLOCK_LEN // 2) for name in (BLOCK, "more")]
    main = started(ram.block_list(blocks))
    zeros = (ram.zero(at * PAGE_LEN) for at in range(1, PAGES // 2))
    main.ram_part(first_round(PAGES // 2) + ram.zero(0, "more") + b"".join(zeros))
    return alone(ended(main))


def _continue_first() -> Broken:
    main = started()
    start = len(main.unfinished()) + PART_HEAD_LEN
    main.ram_part(ram.zero(0) + first_round())
    return Broken(alone(ended(main)), start)


def _first_record() -> Files:
    main = started()
    main.ram_part(first_round())
    return alone(ended(main))


def _xbzrle(body: bytes, at: int, *, encoding: int = ram.ENCODING_FLAG_XBZRLE) -> Broken:
    return _with(ram.xbzrle(0, body, encoding=encoding), _WORD_LEN + at)


def _base_missing() -> Broken:
    delta = ram.xbzrle(PAGE_LEN, _DELTA)
    first = ram.page(0, CONTENT, BLOCK)
    return _with(delta, _WORD_LEN + _XBZRLE_HEAD_LEN, before=first, tail=first_round())


def _base_sent() -> Files:
    return _with(
        ram.xbzrle(0, _DELTA), before=ram.page(0, CONTENT, BLOCK), tail=first_round()
    ).files


def _compressed(body: bytes, at: int) -> Broken:
    return _with(ram.compress_page(0, b"", compressed=body), _WORD_LEN + at)


def _cut_records() -> Broken:
    main = started()
    start = len(main.unfinished()) + PART_HEAD_LEN + _WORD_LEN + _NAME_LEN
    main.ram_part(first_round())
    return Broken(alone(main.unfinished()[: start + 100]), start)


def _eos_with_addr(addr: int) -> bytes:
    main = started()
    main.part(main.release.ram_id, first_round() + ram.eos(addr))
    return ended(main)


def _eos() -> Broken:
    start = len(started().unfinished()) + PART_HEAD_LEN + len(first_round())
    return Broken(alone(_eos_with_addr(PAGE_LEN)), start)


def _never_sent() -> Broken:
    main = started()
    head_len = len(framing.section_head(framing.SECTION_START, main.release.ram_id, "ram"))
    start = len(MainStream("10.0", MACHINE).unfinished()) + head_len + _WORD_LEN
    main.ram_part(first_round(PAGES - 1))
    return Broken(alone(ended(main)), start)


def _postcopy(records: bytes, at: int, *, host_page_len: int | None = None) -> Broken:
    """Build a stream that is switched over before the records are sent."""
    main = MainStream("10.0", MACHINE)
    sizes = PAGE_LEN | (host_page_len or 0)
    for command in (
        commands.open_return_path(),
        commands.ping(1),
        commands.postcopy_advise(sizes),
    ):
        main.add(command)
    main.ram_start(ram.block_list([ram.BlockEntry(BLOCK, BLOCK_LEN, page_size=host_page_len)]))
    main.ram_part(first_round())
    main.switchover()
    main.add(commands.postcopy_ram_discard(BLOCK, [(0, host_page_len or 2 * PAGE_LEN)]))
    devices = b"".join(main.standard_sections())
    inside = commands.postcopy_listen() + devices + commands.ping(3) + commands.postcopy_run()
    main.add(commands.packaged(inside))
    start = len(main.unfinished()) + PART_HEAD_LEN
    main.ram_part(records)
    main.ram_end()
    return Broken(alone(main.finish(describe=False)), start + at)


_HUGE_LEN: Final = 2 << 20
_HUGE: Final = [ram.zero(at * PAGE_LEN) for at in range(_HUGE_LEN // PAGE_LEN)]


def _huge_page_with_gap() -> Broken:
    records = ram.zero(0, BLOCK) + b"".join(_HUGE[2:])
    fill_at = len(ram.zero(0, BLOCK)) + _WORD_LEN
    return _postcopy(records, fill_at, host_page_len=_HUGE_LEN)


def _huge_page() -> Files:
    records = ram.zero(0, BLOCK) + b"".join(_HUGE[1:])
    return _postcopy(records, 0, host_page_len=_HUGE_LEN).files


def _odd_block() -> Broken:
    name = "ra\x07m"
    main = started(ram.block_list([_ENTRY, ram.BlockEntry(name, PAGE_LEN)]))
    main.ram_part(first_round() + ram.zero(0, name))
    data = ended(main)
    return Broken(alone(data), data.index(name.encode()) - 1)


EXAMPLES: Final[Mapping[str, Example]] = {
    "QM101": Example(_opening, _sound()),
    "QM102": Example(
        lambda: _total(BLOCK_LEN - PAGE_LEN, _WORD_LEN + _NAME_LEN),
        _sound(),
    ),
    "QM103": Example(
        lambda: _total(BLOCK_LEN + PAGE_LEN, _WORD_LEN + len(_ENTRY.build())), _sound()
    ),
    "QM104": Example(_cut_list, _sound()),
    "QM105": Example(lambda: _with(ram.block_list([_ENTRY], tail=b"")), _sound()),
    "QM106": Example(_same_name, _other_name, frozenset({"QM125"})),
    "QM107": Example(_odd_block, _sound()),
    "QM110": Example(lambda: _with(ram.word(0, ram.FULL)), _sound()),
    "QM111": Example(lambda: _with(ram.hook()), _sound()),
    "QM112": Example(_continue_first, _first_record),
    "QM113": Example(lambda: _with(ram.zero(0, "nope"), _WORD_LEN), _sound(ram.zero(0, BLOCK))),
    "QM114": Example(lambda: _with(ram.zero(BLOCK_LEN)), _sound(ram.zero(BLOCK_LEN - PAGE_LEN))),
    "QM115": Example(lambda: _with(ram.zero(0, fill=0x55), _WORD_LEN), _sound(ram.zero(0))),
    "QM116": Example(lambda: _xbzrle(_DELTA, 0, encoding=2), _sound(ram.xbzrle(0, _DELTA))),
    "QM117": Example(lambda: _xbzrle(bytes(PAGE_LEN + 1), 1), _sound(ram.xbzrle(0, _DELTA))),
    "QM118": Example(
        lambda: _xbzrle(b"\x05\x00\x00\x00", _XBZRLE_HEAD_LEN + 1), _sound(ram.xbzrle(0, _DELTA))
    ),
    "QM119": Example(lambda: _xbzrle(b"", _XBZRLE_HEAD_LEN), _sound(ram.xbzrle(0, _DELTA))),
    "QM120": Example(_base_missing, _base_sent),
    "QM121": Example(lambda: _compressed(b"", 0), _sound(ram.compress_page(0, CONTENT))),
    "QM122": Example(
        lambda: _compressed(zlib.compress(CONTENT)[:-4] + b"\0\0\0\0", 4),
        _sound(ram.compress_page(0, CONTENT)),
    ),
    "QM123": Example(_cut_records, _sound()),
    "QM124": Example(_eos, lambda: alone(_eos_with_addr(0))),
    "QM128": Example(lambda: _with(ram.multifd_flush()), _sound()),
    "QM125": Example(_never_sent, _sound()),
    "QM126": Example(
        lambda: _postcopy(ram.zero(0, BLOCK) + ram.xbzrle(0, _DELTA), len(ram.zero(0, BLOCK))),
        lambda: _postcopy(ram.zero(0, BLOCK) + ram.page(PAGE_LEN, CONTENT), 0).files,
    ),
    "QM127": Example(_huge_page_with_gap, _huge_page),
}
