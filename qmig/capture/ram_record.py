"""One record of a `ram` section, read through the schemas: errors get their field and offset."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from qmig.capture.page_walk import PageWalk, compress_bound
from qmig.errors import (
    MalformedStreamError,
    StreamError,
    TruncatedStreamError,
    UnsupportedStreamError,
)
from qmig.faults import Fault
from qmig.limits import MAX_BLOCK_LEN
from qmig.memory import PageKind, PageRun
from qmig.wire.gate import read_record
from qmig.wire.ram import (
    ENCODING_FLAG_XBZRLE,
    CompressPageHead,
    FillByte,
    RamBlockRecord,
    RamPageName,
    RamSaveFlag,
    RamWord,
    XbzrleHead,
)
from qmig.wire.record import fixed_len

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qmig.capture.source import Cursor
    from qmig.memory import RamBlock

WORD_LEN: Final = fixed_len(RamWord)
_CONTROL: Final = re.compile("[\0-\x1f\x7f]")
_LEGAL_WORDS: Final = "one of ZERO, PAGE, XBZRLE, COMPRESS_PAGE, EOS, MULTIFD_FLUSH"
_PAGE_KINDS: Final = (
    RamSaveFlag.ZERO,
    RamSaveFlag.PAGE,
    RamSaveFlag.XBZRLE,
    RamSaveFlag.COMPRESS_PAGE,
)
_BARE_KINDS: Final = (RamSaveFlag.HOOK, RamSaveFlag.MULTIFD_FLUSH)  # nothing but the word
# Where RAM is mapped, QEMU refuses these bits in whatever word (migration/ram.c:
# ram_load_precopy, 10.0).
MAPPED_NEVER: Final = int(
    RamSaveFlag.ZERO
    | RamSaveFlag.PAGE
    | RamSaveFlag.XBZRLE
    | RamSaveFlag.HOOK
    | RamSaveFlag.MULTIFD_FLUSH
)
# What is wrong with a record whose length its flags and lengths tell all the same.
_PASSABLE: Final = frozenset(
    {
        Fault.RAM_HOOK,
        Fault.RAM_BLOCKS_AGAIN,
        Fault.RAM_CONTINUE,
        Fault.RAM_BLOCK_UNKNOWN,
        Fault.RAM_ADDR,
        Fault.XBZRLE_FLAG,
        Fault.MAPPED_WORD,
    }
)


def text_of(name: bytes) -> str:
    """Return a name from a stream as text; bytes that are not UTF-8 become surrogates."""
    return name.decode("utf-8", "surrogateescape")


def said_of_opening(flags: int, *, mapped: bool) -> dict[str, int | str]:
    """Return what QEMU 10.0 says of the first word of a stream where it is not MEM_SIZE.

    Args:
        flags: the flags of the word.
        mapped: whether the configuration has mapped-ram.

    Returns:
        Values for the rule: `says`, or `untold` where it depends on the blocks that it has.
    """
    if mapped and flags & MAPPED_NEVER:
        return {"says": f"Unexpected RAM flags: {flags & MAPPED_NEVER}"}
    if flags & (RamSaveFlag.ZERO | RamSaveFlag.PAGE | RamSaveFlag.XBZRLE):
        known = bool(flags & RamSaveFlag.CONTINUE)
        return {"says": "Ack, bad migration stream!"} if known else {"untold": True}
    if flags & ~int(RamSaveFlag.CONTINUE) in _BARE_KINDS:
        return {"untold": True}  # what stands behind it is taken for a word
    return {"says": f"Unknown combination of migration flags: 0x{flags:x}"}


def is_plain_text(name: bytes) -> bool:
    """Tell whether a name is UTF-8 without control characters, as all are that a QEMU writes.

    Names of devices and blocks are made of those of types, addresses on a bus, ids that users give
    (util/id.c: id_wellformed) and, for option ROMs, of files' names (hw/core/loader.c).
    """
    try:
        return _CONTROL.search(name.decode("utf-8")) is None
    except UnicodeDecodeError:
        return False


def flag_names(flags: int) -> str:
    """Return the names of the flags in a word ("PAGE|CONTINUE"), unknown bits in hex."""
    if flags == 0:
        return "no flag"
    known = [flag.name or "" for flag in RamSaveFlag if flags & flag]
    rest = flags & ~sum(RamSaveFlag)
    return "|".join([*known, *([f"0x{rest:x}"] if rest else [])])


def inexact_word(cursor: Cursor, start: int, word: int, flags: int) -> MalformedStreamError:
    """Return the error of a word that has an address, or other flags, beside one that ends runs.

    Args:
        cursor: knows the source.
        start: offset of the word.
        word: the word.
        flags: those in it.
    """
    return MalformedStreamError(
        path=cursor.name,
        offset=start,
        record="RAM record",
        field="word",
        expected=_LEGAL_WORDS,
        found=f"{flag_names(flags)} (word 0x{word:x})",
        fault=Fault.RAM_FLAGS,
        values={"flags": flags},
    )


class PageRecordParser:
    """Reads page records one by one.

    Args:
        walk: the walk over the same records, which knows the block that CONTINUE stands for.
        blocks: the block list.
        page_size_len: bytes of a target page.
        mapped: whether the stream is mapped-ram, where no page record is legal.
    """

    def __init__(
        self, walk: PageWalk, blocks: Sequence[RamBlock], page_size_len: int, *, mapped: bool
    ) -> None:
        self._walk = walk
        self._blocks = blocks
        self._page_size_len = page_size_len
        self._mapped = mapped

    def page(self, cursor: Cursor, start: int, word: int) -> PageRun:
        """Read one page record.

        Args:
            cursor: behind its word.
            start: offset of the word.
            word: the word.

        Raises:
            StreamError: the record is damaged or not legal.
        """
        flags = word & (self._page_size_len - 1)
        kind = flags & ~int(RamSaveFlag.CONTINUE)  # as an IntFlag it would drop unknown bits
        self._check_flags(cursor, start, word, flags)
        block = self._block_of(cursor, start, flags)
        addr = word - flags
        limit = self._blocks[block].used_length
        if addr + self._page_size_len > limit:
            raise MalformedStreamError(
                path=cursor.name,
                offset=start,
                record=f"RAM record in {self._blocks[block].name}",
                field="offset in the block",
                expected=f"at most 0x{max(0, limit - self._page_size_len):x}",
                found=f"0x{addr:x}",
                fault=Fault.RAM_ADDR,
                values={"addr": addr},
            )
        page_kind, payload_len = self._body(cursor, flags, addr)
        data_offset = cursor.offset
        if kind == RamSaveFlag.ZERO and cursor.peek(1) not in (b"", b"\0"):
            page_kind = PageKind.FILL
        cursor.skip(payload_len, what=f"RAM record of page 0x{addr:x}", field="page data")
        record_len = cursor.offset - start
        return PageRun(
            block,
            int(page_kind),
            addr // self._page_size_len,
            1,
            data_offset,
            record_len,
            payload_len,
        )

    def _check_flags(self, cursor: Cursor, start: int, word: int, flags: int) -> None:
        kind = flags & ~int(RamSaveFlag.CONTINUE)
        if flags == RamSaveFlag.HOOK and not self._mapped:
            raise UnsupportedStreamError(
                path=cursor.name,
                offset=start,
                record="RAM record",
                field="flags",
                expected="a record that is not part of an RDMA migration",
                found="HOOK",
                hint="what follows is defined by RDMA and cannot be read from a file",
                fault=Fault.RAM_HOOK,
            )
        if not self._mapped and kind in _PAGE_KINDS:
            return
        fault = Fault.RAM_FLAGS
        if flags == RamSaveFlag.MEM_SIZE:
            fault = Fault.RAM_BLOCKS_AGAIN
        elif self._mapped and flags & MAPPED_NEVER:
            fault, flags = Fault.MAPPED_WORD, flags & MAPPED_NEVER
        raise MalformedStreamError(
            path=cursor.name,
            offset=start,
            record="RAM record",
            field="flags",
            expected="EOS (the stream is mapped-ram)" if self._mapped else _LEGAL_WORDS,
            found=f"{flag_names(word & (self._page_size_len - 1))} (word 0x{word:x})",
            fault=fault,
            values={"flags": flags},
        )

    def _block_of(self, cursor: Cursor, start: int, flags: int) -> int:
        if flags & RamSaveFlag.CONTINUE:
            if self._walk.block < 0:
                raise MalformedStreamError(
                    path=cursor.name,
                    offset=start,
                    record="RAM record",
                    field="flags",
                    expected="the name of a block before the first CONTINUE",
                    found=flag_names(flags),
                    fault=Fault.RAM_CONTINUE,
                )
            return self._walk.block
        at = cursor.offset
        name = read_record(cursor, RamPageName, what="RAM record").idstr
        block = self._walk.names.get(name)
        if block is None:
            raise MalformedStreamError(
                path=cursor.name,
                offset=at,
                record="RAM record",
                field="idstr",
                expected="the name of a block in the block list",
                found=repr(name[:64]),
                fault=Fault.RAM_BLOCK_UNKNOWN,
                values={"block": text_of(name)},
            )
        self._walk.block = block
        return block

    def _body(self, cursor: Cursor, flags: int, addr: int) -> tuple[PageKind, int]:
        """Read the head of a record's body; return its kind and the bytes behind the head."""
        kind = flags & ~int(RamSaveFlag.CONTINUE)
        what = f"RAM record of page 0x{addr:x}"
        start = cursor.offset
        if kind == RamSaveFlag.PAGE:
            return PageKind.PLAIN, self._page_size_len
        if kind == RamSaveFlag.ZERO:
            return PageKind.ZERO, fixed_len(FillByte)
        if kind == RamSaveFlag.COMPRESS_PAGE:
            length = read_record(cursor, CompressPageHead, what=what).compressed_len
            most = compress_bound(self._page_size_len)
            if not 0 < length <= most:
                raise MalformedStreamError(
                    path=cursor.name,
                    offset=start,
                    record=what,
                    field="compressed_len",
                    expected=f"1 to {most}",
                    found=str(length),
                    fault=Fault.COMPRESSED_LEN,
                    values={"flags": flags},
                )
            return PageKind.COMPRESSED, length
        head = read_record(cursor, XbzrleHead, what=what)
        if head.flag != ENCODING_FLAG_XBZRLE or head.encoded_len > self._page_size_len:
            bad_flag = head.flag != ENCODING_FLAG_XBZRLE
            raise MalformedStreamError(
                path=cursor.name,
                offset=start + (0 if bad_flag else 1),
                record=what,
                field="flag" if bad_flag else "encoded_len",
                expected="1" if bad_flag else f"at most {self._page_size_len}",
                found=str(head.flag if bad_flag else head.encoded_len),
                fault=Fault.XBZRLE_FLAG if bad_flag else Fault.XBZRLE_LEN,
                values={"addr": addr},
            )
        return PageKind.XBZRLE, head.encoded_len

    # -- what lies behind a record that cannot be taken -------------------------------------------

    def behind(self, cursor: Cursor, start: int, error: StreamError) -> int | None:
        """Return where the record behind a damaged one begins, if that can be told.

        Its flags and lengths tell where it ends, and there must be what can be a record.

        Args:
            cursor: anywhere in the record; it is moved.
            start: offset of its word.
            error: what is wrong with it.
        """
        if error.fault not in _PASSABLE:
            return None
        cursor.offset = start
        try:
            word = read_record(cursor, RamWord, what="RAM record").word
            self._pass_over(cursor, word)
        except TruncatedStreamError:
            return None
        return cursor.offset if self._plausible(cursor.peek(WORD_LEN)) else None

    def _pass_over(self, cursor: Cursor, word: int) -> None:
        flags = word & (self._page_size_len - 1)
        kind = flags & ~int(RamSaveFlag.CONTINUE)
        what = "RAM record"
        if kind in _BARE_KINDS:
            return
        if kind == RamSaveFlag.MEM_SIZE:
            left_len = word - flags
            for _ in self._blocks:
                if left_len > 0:
                    left_len -= read_record(cursor, RamBlockRecord, what=what).used_length
            return
        if not flags & RamSaveFlag.CONTINUE:
            read_record(cursor, RamPageName, what=what)
        length = fixed_len(FillByte)
        if kind == RamSaveFlag.PAGE:
            length = self._page_size_len
        elif kind == RamSaveFlag.XBZRLE:
            length = read_record(cursor, XbzrleHead, what=what).encoded_len
        elif kind == RamSaveFlag.COMPRESS_PAGE:
            length = read_record(cursor, CompressPageHead, what=what).compressed_len
        cursor.skip(length, what=what)

    def _plausible(self, data: bytes) -> bool:
        """Tell whether a record could begin with these bytes."""
        if len(data) < WORD_LEN:
            return False
        word = int.from_bytes(data, "big")
        flags = word & (self._page_size_len - 1)
        if flags in (RamSaveFlag.EOS, *_BARE_KINDS):
            return word == flags
        # It may go on with pages of a block that is not in the list, so that no length holds.
        return flags & ~int(RamSaveFlag.CONTINUE) in _PAGE_KINDS and word < MAX_BLOCK_LEN
