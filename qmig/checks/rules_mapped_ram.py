"""QM2xx: mapped-ram headers, bitmaps and pages."""

from __future__ import annotations

from typing import Final

from qmig.checks.rule import Outcome, Rule, Severity
from qmig.faults import Fault

_ERROR: Final = Severity.ERROR
_WARNING: Final = Severity.WARNING
_NOTE: Final = Severity.NOTE
_REFUSES: Final = Outcome.REFUSES
_HEADER: Final = "migration/ram.c: mapped_ram_read_header, 10.0"
_PARSE: Final = "migration/ram.c: parse_ramblock_mapped_ram, 10.0"
_READ: Final = "migration/ram.c: read_ramblock_mapped_ram, 10.0"
_SETUP: Final = "migration/ram.c: mapped_ram_setup_ramblock, 10.0"

RULES: Final[tuple[Rule, ...]] = (
    Rule(
        "QM201",
        "have no mapped-ram header of a version above 1",
        _ERROR,
        "Version 1 is that of 9.0 to 11.1. The rest of the block is judged as if it were.",
        _HEADER,
        _REFUSES,
        "Migration mapped-ram capability version not supported (expected <= 1, got {version})",
        frozenset({Fault.MAPPED_VERSION}),
    ),
    Rule(
        "QM202",
        "have version 1 in mapped-ram headers",
        _WARNING,
        "No QEMU writes version 0; 10.0 takes it for 1.",
        _HEADER,
        Outcome.LOADS,
    ),
    Rule(
        "QM203",
        "not have the page size 0 in a mapped-ram header",
        _ERROR,
        "QEMU 10.0 divides by it and dies (SIGFPE). 11.1 says `Migration mapped-ram header has "
        "invalid page_size`.",
        _PARSE,
        Outcome.CRASHES,
        None,
        frozenset({Fault.MAPPED_PAGE_SIZE_ZERO}),
    ),
    Rule(
        "QM204",
        "have the target page size in mapped-ram headers",
        _ERROR,
        "QEMU 10.0 counts pages with it without comparing it: it loads wrong pages in silence. "
        "11.1 says `Migration mapped-ram header has invalid page_size`.",
        _PARSE,
        Outcome.LOADS_WRONG,
        None,
        frozenset({Fault.MAPPED_PAGE_SIZE}),
    ),
    Rule(
        "QM205",
        "have a pages_offset that is a multiple of the page size",
        _ERROR,
        "Pages are read straight into the guest's memory, which needs whole pages of the file.",
        _PARSE,
        _REFUSES,
        "Error reading ramblock {block} pages, region has bad alignment",
        frozenset({Fault.MAPPED_PAGES_ALIGNMENT}),
    ),
    Rule(
        "QM206",
        "have a pages_offset that is a multiple of 1 MiB",
        _WARNING,
        "QEMU writes it so for direct I/O, and does not ask for it when it loads.",
        f"{_SETUP}; MAPPED_RAM_FILE_OFFSET_ALIGNMENT",
        Outcome.LOADS,
    ),
    Rule(
        "QM207",
        "have the bitmap directly behind the header",
        _WARNING,
        "QEMU puts it there, and loads it from wherever bitmap_offset says.",
        _SETUP,
        Outcome.LOADS,
    ),
    Rule(
        "QM208",
        "have bitmap and pages behind the header, one after the other",
        _ERROR,
        "pages_offset points in front of the header's end, or into the bitmap: what is read there "
        "is something else, and so is the stream behind it.",
        f"{_SETUP}; parse_ramblock_mapped_ram",
        Outcome.LOADS_WRONG,
        None,
        frozenset({Fault.MAPPED_PAGES_PLACE}),
    ),
    Rule(
        "QM209",
        "lie at the file offset that its mapped-ram headers count from",
        _ERROR,
        "bitmap_offset and pages_offset count from byte 0 of the file that QEMU wrote. The stream "
        "was copied out of that file (`file:PATH,offset=N`, a libvirt image) or moved in it. QEMU "
        "reads wrong pages, and then misses the stream behind them. Put it back to where it was; "
        "qmig reads on as if it were there.",
        f"{_SETUP}; migration/file.c: file_start_outgoing_migration",
        _REFUSES,
        None,
        frozenset({Fault.MAPPED_MOVED}),
    ),
    Rule(
        "QM210",
        "hold the whole bitmap of each mapped-ram block",
        _ERROR,
        "The file ends inside the bitmap, or bitmap_offset lies behind its end.",
        _PARSE,
        _REFUSES,
        "Error reading dirty bitmap",
        frozenset({Fault.MAPPED_BITMAP_CUT}),
    ),
    Rule(
        "QM211",
        "hold each page whose bit is set",
        _ERROR,
        "The file ends before a page that its bitmap calls for: it was cut short, or pages_offset "
        "is damaged.",
        _READ,
        _REFUSES,
        "({block}) failed to read page {addr:x}from file offset {offset:x}: {says}",
        frozenset({Fault.MAPPED_PAGES_CUT}),
    ),
    Rule(
        "QM212",
        "have no page record and no MULTIFD_FLUSH in a mapped-ram stream",
        _ERROR,
        "Pages stand at their places in the file; the sections hold EOS alone.",
        "migration/ram.c: ram_load_precopy, 10.0",
        _REFUSES,
        "Unexpected RAM flags: {flags}",
        frozenset({Fault.MAPPED_WORD}),
    ),
    Rule(
        "QM213",
        "have no bit set behind a block's last page",
        _WARNING,
        "A bitmap is filled up to whole words of 64 bits; QEMU ignores what is in there. The "
        "bitmap is damaged, or was written for a block of another size.",
        _READ,
        Outcome.LOADS,
    ),
    Rule(
        "QM214",
        "have some page's bit set",
        _WARNING,
        "All bitmaps are empty, so that all RAM is zero. QEMU writes the bitmaps last: a save that "
        "was interrupted looks so. A guest without one page of content has no firmware either.",
        "migration/ram.c: ram_save_file_bmap, 10.0",
        Outcome.LOADS,
    ),
    Rule(
        "QM215",
        "hold no data under clear bits",
        _NOTE,
        "Normal in the capture of a running guest: a page that became zero keeps its old bytes in "
        "the file. A reader that goes by the bytes and not by the bitmap gets a wrong image.",
        f"{_READ}; ram_save_zero_page",
        Outcome.LOADS,
    ),
    Rule(
        "QM216",
        "hold data under set bits",
        _NOTE,
        "A page's bit is set, and in its place the file has a hole, which reads as zeros. A copy "
        "that makes holes of zeros does this to a guest saved with zero-page-detection=none; a "
        "file system that lost writes does it as well.",
        _READ,
        Outcome.LOADS,
    ),
    Rule(
        "QM217",
        "hold the whole area of each mapped-ram block",
        _ERROR,
        "The file ends before the block does. No page of content is missing so far; the stream "
        "goes on behind the block's last page, and all of that is.",
        _PARSE,
        _REFUSES,
        None,
        frozenset({Fault.MAPPED_AREA_CUT}),
    ),
)
