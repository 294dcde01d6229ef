"""An independent reader of streams, made of `struct` and the facts of the format alone.

It imports nothing of qmig, so what it finds is a second opinion: where each element, section,
RAM record and packet begins and ends. It believes its input, and is no example of how to read
foreign files; what is cut short ends the walk with `whole` False.
"""

import contextlib
import struct
from dataclasses import dataclass, field
from typing import Final

from tests.builders import vmdesc
from tests.builders.walk_main import described_len
from tests.oracle_live import Data, framing_of

EOF, START, PART, END, FULL, SUBSECTION, VMDESC, CONFIGURATION, COMMAND = range(9)
FOOTER: Final = 0x7E
FOOTER_LEN: Final = 5

ZERO, FILL, PLAIN, XBZRLE, COMPRESSED = range(5)
_W_ZERO, _W_MEM_SIZE, _W_PAGE, _W_EOS = 0x2, 0x4, 0x8, 0x10
_W_CONTINUE, _W_XBZRLE, _W_COMPRESS, _W_FLUSH = 0x20, 0x40, 0x100, 0x200

_PACKAGED: Final = 7

_u16: Final = struct.Struct(">H").unpack_from
_u32: Final = struct.Struct(">I").unpack_from
_u64: Final = struct.Struct(">Q").unpack_from


class CutShortError(Exception):
    """The data ends inside something."""


@dataclass(frozen=True)
class Frame:
    """Something with a name: [offset, end)."""

    name: str
    offset: int
    end: int


@dataclass(frozen=True)
class Section:
    """One section with header and footer: [offset, end)."""

    kind: int
    section_id: int
    idstr: bytes
    instance_id: int
    version_id: int
    offset: int
    end: int


@dataclass(frozen=True)
class Block:
    """One entry of a block list."""

    name: bytes
    used_length: int
    page_size: int | None = None
    addr: int | None = None
    bitmap_offset: int = 0
    pages_offset: int = 0


@dataclass
class Walked:
    """What a walk found.

    Attributes:
        frames: elements and words in order, without a gap between them but for page records.
        sections: in the order in which they end.
        pages: block index, kind, page index, offset of the payload, its length.
        blocks: the block list.
        end: behind the last byte understood.
        whole: whether the stream was understood to its end.
    """

    frames: list[Frame] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)
    pages: list[tuple[int, int, int, int, int]] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    flush_words: int = 0
    end: int = 0
    whole: bool = True


class MainWalk:
    """Walks over a main stream.

    Args:
        data: the file, or what a decompressor gave.
        page_size: bytes of a target page.
        offset: where the stream begins.
        resumes: the walk that this connection goes on with, which has no header then.
    """

    def __init__(
        self, data: Data, page_size: int, *, offset: int = 0, resumes: "MainWalk | None" = None
    ) -> None:
        self.found = Walked()
        self._data = data
        self._page_size = page_size
        self._at = self._start = offset
        self._opened: dict[int, tuple[bytes, int, int]] = {}
        self._capabilities: tuple[bytes, ...] = ()
        self._footers: bool | None = None
        self._lengths: dict[tuple[str, int], list[int]] = {}
        self._block = -1
        self._resumed = resumes is not None
        if resumes is not None:
            self.found.blocks = resumes.found.blocks
            self._opened, self._footers = resumes._opened, resumes._footers

    def walk(self) -> Walked:
        """Walk to the end of the data, or to where it stops making sense."""
        found = self.found
        try:
            if not self._resumed:
                self._take("file header", 8)
                if self._peek() == CONFIGURATION:
                    self._configuration()
                self._describe()
            self._elements(len(self._data))
            self._take("EOF", 1)
            self._tail()
        except (struct.error, IndexError, CutShortError):
            found.whole = False
        return found

    # -- bytes ------------------------------------------------------------------------------------

    def _peek(self) -> int:
        return self._data[self._at]

    def _take(self, name: str, length: int) -> None:
        """Name the next bytes."""
        end = self._at + length
        if end > len(self._data):
            raise CutShortError(name)
        if length:
            self.found.frames.append(Frame(name, self._at, end))
        self._at = self.found.end = end

    def _counted(self, at: int) -> tuple[bytes, int]:
        end = at + 1 + self._data[at]
        if end > len(self._data):
            raise CutShortError("name")
        return bytes(self._data[at + 1 : end]), end

    # -- head and tail ----------------------------------------------------------------------------

    def _configuration(self) -> None:
        (length,) = _u32(self._data, self._at + 1)
        self._take("configuration", 5 + length)
        while self._peek() == SUBSECTION:
            name, end = self._counted(self._at + 1)
            self._take("subsection", end + 4 - self._at)
            if name.endswith(b"capabilities"):
                (count,) = _u32(self._data, self._at)
                self._take("capabilities", 4)
                for _ in range(count):
                    capability, end = self._counted(self._at)
                    self._capabilities += (capability,)
                    self._take("capability", end - self._at)
            else:
                self._take("subsection body", {b"s": 4, b"d": 16}[name[-1:]])  # -bits, uuid

    def _describe(self) -> None:
        """Find the description from behind: its length tells whether it is one."""
        at = len(self._data)
        while (at := self._data.rfind(b"{", self._at, at)) >= 0:
            if self._data[at - 5] == VMDESC:
                (length,) = _u32(self._data, at - 4)
                text = bytes(self._data[at : at + length])
                if len(text) == length and b'"devices"' in text:
                    for device in vmdesc.parse(text).first("devices"):
                        key = (device.first("name"), device.first("instance_id"))
                        with contextlib.suppress(KeyError):  # a key is damaged
                            self._lengths.setdefault(key, []).append(described_len(device))
                    return

    def _tail(self) -> None:
        if self._at < len(self._data) and self._peek() == VMDESC:
            (length,) = _u32(self._data, self._at + 1)
            self._take("vmdescription", 5)
            self._take("vmdescription JSON", length)
        self._take("trailing", len(self._data) - self._at)

    # -- elements ---------------------------------------------------------------------------------

    def _elements(self, limit: int) -> None:
        while self._at < limit and self._peek() != EOF:
            kind = self._peek()
            if kind == COMMAND:
                self._command()
            elif kind in (START, FULL, PART, END):
                self._section(kind)
            else:
                raise CutShortError(f"element {kind} at {self._at:#x}")

    def _command(self) -> None:
        number, length = struct.unpack_from(">HH", self._data, self._at + 1)
        self._take("command", 5)
        self._take("command payload", length)
        if number == _PACKAGED:
            end = self._at + _u32(self._data, self._at - 4)[0]
            self._elements(end)
            self._take("rest of package", end - self._at)

    def _section(self, kind: int) -> None:
        start = self._at
        (section_id,) = _u32(self._data, start + 1)
        if kind in (START, FULL):
            idstr, end = self._counted(start + 5)
            instance_id, version_id = struct.unpack_from(">II", self._data, end)
            self._opened[section_id] = (idstr, instance_id, version_id)
            self._take("section header", end + 8 - start)
        else:
            idstr, instance_id, version_id = self._opened[section_id]
            self._take("section header", 5)
        self._body(kind, section_id, idstr, instance_id)
        footer = bytes([FOOTER]) + struct.pack(">I", section_id)
        if self._footers is None:
            self._footers = self._data[self._at : self._at + FOOTER_LEN] == footer
        if self._footers:
            if self._data[self._at : self._at + FOOTER_LEN] != footer:
                raise CutShortError("footer")
            self._take("section footer", FOOTER_LEN)
        self.found.sections.append(
            Section(kind, section_id, idstr, instance_id, version_id, start, self._at)
        )

    def _body(self, kind: int, section_id: int, idstr: bytes, instance_id: int) -> None:
        frame = None if kind == FULL else framing_of(idstr)
        if kind != FULL and idstr == b"ram":
            if kind == START:
                self._block_list()
            self._records()
        elif frame is not None:
            for length in frame(self._data, self._at, kind == START):
                self._take("chunk", length)
        else:
            lengths = self._lengths.get((idstr.decode(errors="surrogateescape"), instance_id))
            described = lengths.pop(0) if lengths else None
            if described is None or (self._footers and not self._ends(section_id, described)):
                described = self._undescribed_len(section_id)  # QEMU reads no description
            self._take("section body", described)

    def _ends(self, section_id: int, length: int) -> bool:
        """Tell whether a section's footer stands so many bytes further on."""
        at = self._at + length
        footer = bytes([FOOTER]) + struct.pack(">I", section_id)
        return bytes(self._data[at : at + FOOTER_LEN]) == footer

    def _undescribed_len(self, section_id: int) -> int:
        """Find the footer with an element behind it; without footers the next FULL header."""
        footer = bytes([FOOTER]) + struct.pack(">I", section_id)
        at = self._at - 1
        if self._footers is not False:
            while (at := self._data.find(footer, at + 1)) >= 0:
                if self._element_at(at + FOOTER_LEN):
                    return at - self._at
            raise CutShortError("footer")
        while (at := self._data.find(b"\x04\0\0", at + 1)) >= 0:
            if self._full_at(at, most_instance=65536):
                return at - self._at
        return len(self._data) - 1 - self._at  # the last byte is EOF

    def _element_at(self, at: int) -> bool:
        data = self._data
        if at == len(data):
            return True
        if data[at] in (PART, END):
            return len(data) - at > 4 and _u32(data, at + 1)[0] in self._opened
        if data[at] == COMMAND:
            return len(data) - at > 4 and data[at + 1] == 0 and 1 <= data[at + 2] <= 11
        if data[at] == EOF:
            return at + 1 == len(data) or data[at + 1] in (0, VMDESC)
        return data[at] in (START, FULL) and self._full_at(at)

    def _full_at(self, at: int, *, most_instance: int = 1 << 32) -> bool:
        head = bytes(self._data[at : at + 270])
        if len(head) < 15 or _u32(head, 1)[0] >= 65536 or head[5] == 0:
            return False
        name, rest = head[6 : 6 + head[5]], head[6 + head[5] :]
        if not all(0x20 <= byte < 0x7F for byte in name) or len(rest) < 8:
            return False
        instance_id, version_id = struct.unpack_from(">II", rest)
        return bool(instance_id < most_instance and version_id < 1000)

    # -- ram --------------------------------------------------------------------------------------

    def _block_list(self) -> None:
        left = _u64(self._data, self._at)[0] & ~0xFF
        self._take("RAM word", 8)
        while left:
            name, end = self._counted(self._at)
            (used_length,) = _u64(self._data, end)
            self._take("RAM block", end + 8 - self._at)
            left -= used_length
            page_size = addr = None
            if b"x-ignore-shared" in self._capabilities:
                (addr,) = _u64(self._data, self._at)
                self._take("RAM block addr", 8)
            elif b"mapped-ram" not in self._capabilities:
                (following,) = _u64(self._data, self._at)
                if following & 0x3FF == 0 and following.bit_count() == 1:
                    page_size = following
                    self._take("RAM block page_size", 8)
            bitmap_offset = pages_offset = 0
            if b"mapped-ram" in self._capabilities:
                bitmap_offset, pages_offset = struct.unpack_from(">QQ", self._data, self._at + 12)
                self._take("mapped-ram header", 28)
                if pages_offset:
                    pages = used_length // self._page_size
                    self._take("mapped-ram bitmap", -(-pages // 64) * 8)
                    self._take("mapped-ram gap", pages_offset - self._at)
                    self._take("mapped-ram pages", used_length)
            self.found.blocks.append(
                Block(name, used_length, page_size, addr, bitmap_offset, pages_offset)
            )

    def _records(self, *, bare: bool = False) -> None:
        data, found = self._data, self.found
        names = {block.name: index for index, block in enumerate(found.blocks)}
        while not (bare and self._at == len(data)):
            at = self._at
            (word,) = _u64(data, at)
            flags = word & (self._page_size - 1)
            if flags in (_W_EOS, _W_FLUSH):
                found.flush_words += flags == _W_FLUSH
                self._take("RAM word", 8)
                if flags == _W_EOS:
                    return
                continue
            body = at + 8
            if flags & ~_W_CONTINUE not in (_W_ZERO, _W_PAGE, _W_XBZRLE, _W_COMPRESS):
                raise CutShortError(f"flags {flags:#x}")
            if not flags & _W_CONTINUE:
                name, body = self._counted(body)
                self._block = names[name]
            kind, body, payload_len = self._page(flags & ~_W_CONTINUE, body)
            if body + payload_len > len(data):
                raise CutShortError("page")
            page = (word - flags) // self._page_size
            found.pages.append((self._block, kind, page, body, payload_len))
            self._at = found.end = body + payload_len

    def _page(self, flag: int, body: int) -> tuple[int, int, int]:
        """Return kind, offset of the payload and its length."""
        if flag == _W_ZERO:
            return (FILL if self._data[body] else ZERO), body, 1
        if flag == _W_PAGE:
            return PLAIN, body, self._page_size
        if flag == _W_XBZRLE:
            return XBZRLE, body + 3, _u16(self._data, body + 1)[0]
        return COMPRESSED, body + 4, _u32(self._data, body)[0]

    def walk_bare(self) -> Walked:
        """Walk over a channel of postcopy-preempt: page records up to the end of the data."""
        try:
            self._records(bare=True)
        except (struct.error, IndexError, CutShortError):
            self.found.whole = False
        return self.found
