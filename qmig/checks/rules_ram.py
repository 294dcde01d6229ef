"""QM1xx: the block list and page records."""

from __future__ import annotations

from typing import Final

from qmig.checks.rule import Outcome, Rule, Severity
from qmig.faults import Fault

_ERROR: Final = Severity.ERROR
_REFUSES: Final = Outcome.REFUSES
_LOAD: Final = "migration/ram.c: ram_load_precopy, 10.0"
_BLOCKS: Final = "migration/ram.c: parse_ramblocks, 10.0"
_FROM_STREAM: Final = "migration/ram.c: ram_block_from_stream, 10.0"
_XBZRLE: Final = "migration/ram.c: load_xbzrle, 10.0"

_BLOCK_LIST: Final[tuple[Rule, ...]] = (
    Rule(
        "QM101",
        "open the START section of ram with the block list",
        _ERROR,
        "The first word has the flag MEM_SIZE and the total of all blocks; without the list no "
        "page has a place. What QEMU prints depends on what it takes the word for.",
        f"{_LOAD}; ram_save_setup",
        _REFUSES,
        "{says}",
        frozenset({Fault.RAM_OPENING}),
    ),
    Rule(
        "QM102",
        "list blocks whose lengths do not exceed the total",
        _ERROR,
        "The list has no count: it ends where the lengths add up to the total. A length or the "
        "total is damaged. QEMU compares the length with that of its own block first.",
        _BLOCKS,
        _REFUSES,
        None,
        frozenset({Fault.RAM_BLOCK_LEN}),
    ),
    Rule(
        "QM103",
        "list blocks whose lengths reach the total",
        _ERROR,
        "The lengths so far are less than the total, and what follows is no entry. A length or "
        "the total is damaged. QEMU takes what follows for an entry without a name.",
        _BLOCKS,
        _REFUSES,
        'Unknown ramblock "", cannot accept migration',
        frozenset({Fault.RAM_BLOCK_NAMELESS}),
    ),
    Rule(
        "QM104",
        "hold the whole block list",
        _ERROR,
        "The file ends inside the list: it was cut short, or the save did not get farther.",
        _BLOCKS,
        _REFUSES,
        None,
        frozenset({Fault.RAM_BLOCKS_CUT}),
    ),
    Rule(
        "QM105",
        "send the block list once",
        Severity.WARNING,
        "No QEMU sends it again. A destination takes the lengths of the second one for new sizes "
        "of its blocks; qmig goes on with the first.",
        f"{_LOAD}; {_BLOCKS}",
        Outcome.LOADS,
        None,
        frozenset({Fault.RAM_BLOCKS_AGAIN}),
    ),
    Rule(
        "QM106",
        "list each block once",
        Severity.WARNING,
        "Blocks are found by their names, so two of one name are one to a destination.",
        "system/physmem.c: qemu_ram_set_idstr, qemu_ram_block_by_name, 10.0",
        Outcome.LOADS,
    ),
    Rule(
        "QM107",
        "name blocks in plain text",
        _ERROR,
        "No block has a name that is no UTF-8 or holds control characters: the list is damaged.",
        "migration/ram.c: parse_ramblocks, 10.0",
        _REFUSES,
        'Unknown ramblock "{name}", cannot accept migration',
    ),
)

_RECORDS: Final[tuple[Rule, ...]] = (
    Rule(
        "QM110",
        "have one kind of record in each word",
        _ERROR,
        "The low bits of a word name one of ZERO, PAGE, XBZRLE, COMPRESS_PAGE, EOS and "
        "MULTIFD_FLUSH; a page may add CONTINUE. Other bits have no meaning in any release. Often "
        "it is not the word that is wrong, but the length of what stands before it.",
        _LOAD,
        _REFUSES,
        "Unknown combination of migration flags: 0x{flags:x}",
        frozenset({Fault.RAM_FLAGS}),
    ),
    Rule(
        "QM111",
        "have no HOOK outside of RDMA",
        Severity.WARNING,
        "The pages of an RDMA migration go into the destination's memory past the stream, so they "
        "are not in the capture. QEMU skips the word where it does not use RDMA.",
        f"{_LOAD}; migration/rdma.c: rdma_registration_handle",
        Outcome.LOADS,
        None,
        frozenset({Fault.RAM_HOOK}),
    ),
    Rule(
        "QM112",
        "name a block before the first CONTINUE",
        _ERROR,
        "CONTINUE stands for the block of the page record before it, and there is none. The "
        "records before are lost, or the flag is damaged.",
        _FROM_STREAM,
        _REFUSES,
        "Ack, bad migration stream!",
        frozenset({Fault.RAM_CONTINUE}),
    ),
    Rule(
        "QM113",
        "name blocks of the block list in page records",
        _ERROR,
        "The page has no place to go to. Those that continue its block have none either.",
        _FROM_STREAM,
        _REFUSES,
        "Can't find block {block}",
        frozenset({Fault.RAM_BLOCK_UNKNOWN}),
    ),
    Rule(
        "QM114",
        "keep pages inside their block",
        _ERROR,
        "The offset of the page is not below the used_length that the block list gives.",
        f"{_LOAD}; migration/ram.c: host_from_ram_block_offset",
        _REFUSES,
        "Illegal RAM offset {addr:x}",
        frozenset({Fault.RAM_ADDR}),
    ),
    Rule(
        "QM115",
        "have the fill byte 0 in ZERO records",
        _ERROR,
        "Sources up to 2.x wrote pages of any one byte so, and releases before 8.2 load them. "
        "Newer ones refuse.",
        _LOAD,
        _REFUSES,
        "Found a zero page with value {fill}",
    ),
    Rule(
        "QM116",
        "have the encoding 1 in XBZRLE records",
        _ERROR,
        "No other encoding was ever defined.",
        _XBZRLE,
        _REFUSES,
        "Failed to load XBZRLE page - wrong compression!",
        frozenset({Fault.XBZRLE_FLAG}),
    ),
    Rule(
        "QM117",
        "have XBZRLE encodings no longer than a page",
        _ERROR,
        "A source sends the whole page where its encoding would be longer.",
        _XBZRLE,
        _REFUSES,
        "Failed to load XBZRLE page - len overflow!",
        frozenset({Fault.XBZRLE_LEN}),
    ),
    Rule(
        "QM118",
        "have XBZRLE encodings whose runs stay in the page and in the record",
        _ERROR,
        "A run of unchanged bytes may be empty only at the front, a run of new bytes never, a "
        "number has at most two bytes, and nothing goes beyond the page or the encoding.",
        f"{_XBZRLE}; migration/xbzrle.c: xbzrle_decode_buffer",
        _REFUSES,
        "Failed to load XBZRLE page - decode error!",
    ),
    Rule(
        "QM119",
        "write numbers of an XBZRLE encoding in their short form, and no empty encoding",
        Severity.NOTE,
        "QEMU loads both and writes neither: something else made or changed this stream.",
        "migration/xbzrle.c: xbzrle_decode_buffer, xbzrle_encode_buffer, 10.0",
        Outcome.LOADS,
    ),
    Rule(
        "QM120",
        "send a page whole before its first XBZRLE record",
        _ERROR,
        "An encoding says what changed against the page that was sent before. Where none was, a "
        "destination applies it to whatever it holds, and nobody notices.",
        "migration/ram.c: save_xbzrle_page, load_xbzrle, 10.0",
        Outcome.LOADS_WRONG,
    ),
    Rule(
        "QM121",
        "have compressed pages of at least 1 byte and at most zlib's bound",
        _ERROR,
        "The length of a COMPRESS_PAGE record is what zlib can make of a page at most. QEMU up to "
        "9.0 says `Invalid compressed data length`; newer ones have no such records at all.",
        "migration/ram-compress.c: decompress_data_with_multi_threads, 8.2; migration/ram.c, 10.0",
        _REFUSES,
        "Unknown combination of migration flags: 0x{flags:x}",
        frozenset({Fault.COMPRESSED_LEN}),
    ),
    Rule(
        "QM122",
        "have a whole zlib stream of one page in each COMPRESS_PAGE record",
        _ERROR,
        "Each page is compressed alone, to its end. QEMU up to 9.0 says `decompress data failed`; "
        "newer ones have no such records at all.",
        "migration/ram-compress.c: qemu_uncompress_data, 8.2; migration/ram.c, 10.0",
        _REFUSES,
        "Unknown combination of migration flags: 0x{flags:x}",
    ),
    Rule(
        "QM123",
        "end each section of ram with EOS",
        _ERROR,
        "The file ends inside the page records: it was cut short, or the save did not get "
        "farther. QEMU prints something of its own only where the cut is between two records.",
        _LOAD,
        _REFUSES,
        None,
        frozenset({Fault.RAM_CUT}),
    ),
    Rule(
        "QM124",
        "have nothing but the flag in EOS and MULTIFD_FLUSH words",
        Severity.WARNING,
        "QEMU writes no offset and no CONTINUE there and ignores both.",
        _LOAD,
        Outcome.LOADS,
    ),
    Rule(
        "QM125",
        "send every page at least once",
        Severity.NOTE,
        "Legal where the guest gave pages back (balloon, free page hints, virtio-mem), where a "
        "block is shared memory, and where multifd channels were not given. A fresh destination "
        "holds zeros or its own ROM there.",
        "migration/ram.c: ram_list_init_bitmaps, ramblock_dirty_bitmap_clear_discarded_pages, 10.0",
        Outcome.LOADS,
    ),
    Rule(
        "QM126",
        "send only ZERO and PAGE records once postcopy runs",
        _ERROR,
        "Pages are placed as a whole then; an encoding against an older version cannot be.",
        "migration/ram.c: ram_load_postcopy, 10.0",
        _REFUSES,
        "Unknown combination of migration flags: 0x{flags:x} (postcopy mode)",
    ),
    Rule(
        "QM127",
        "send the pages of a huge page together once postcopy runs",
        _ERROR,
        "A host page is placed as a whole when its last target page has come, so they come one "
        "after another in their order. QEMU prints the two host addresses that differ.",
        "migration/ram.c: ram_load_postcopy, 10.0",
        _REFUSES,
    ),
)

_OTHERS: Final[tuple[Rule, ...]] = (
    Rule(
        "QM128",
        "have MULTIFD_FLUSH words only where pages go over channels",
        Severity.NOTE,
        "Legal: 8.1 sends them without multifd too, and a destination passes over them. In a "
        "stream of another release they tell that its channels were not given.",
        "migration/ram.c: ram_save_setup, find_dirty_block, 8.1; ram_load_precopy, 10.0",
        Outcome.LOADS,
    ),
)

RULES: Final[tuple[Rule, ...]] = _BLOCK_LIST + _RECORDS + _OTHERS
