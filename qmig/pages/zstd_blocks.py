"""Cut zstd data into pieces whose plain size is bounded before anything is decompressed.

A block of a few bytes may stand for 128 KiB, so a hostile megabyte could ask for gigabytes at
once. Block headers are three bytes and tell their stored size (RFC 8878, 3.1.1.2), so pieces are
cut at whole blocks, and the end of a frame is known for certain: a frame that is cut short is
seen here and not where the decoder quietly stops.
"""

from __future__ import annotations

from typing import Final

BLOCK_MAX_LEN: Final = 128 * 1024  # plain bytes of one block at most
_BLOCK_HEAD_LEN: Final = 3
_CHECKSUM_LEN: Final = 4
_MAGIC: Final = 0xFD2FB528
_MAGIC_LEN: Final = 4
_SKIPPABLE_HEAD_LEN: Final = 8
_SKIPPABLE_MAGIC: Final = 0x184D2A50
_RLE: Final = 1
_RESERVED: Final = 3


class ZstdFrameError(ValueError):
    """The bytes are not a zstd frame."""


class ZstdBlockScanner:
    """Follows frames and blocks through data that comes in pieces.

    Attributes:
        inside_frame: whether the data so far ends inside a frame.
    """

    def __init__(self) -> None:
        self.inside_frame = False
        self._skip_len = 0  # bytes of the current block (or frame tail) still to come
        self._head = b""  # bytes of an incomplete header
        self._last_block = False
        self._checksum = False

    @property
    def complete(self) -> bool:
        """Whether the data so far ends at the end of a frame."""
        return not self.inside_frame and not self._head and self._skip_len == 0

    def scan(self, data: bytes, *, max_blocks: int, one_frame: bool = False) -> tuple[int, int]:
        """Walk over `data` until its end, or until `max_blocks` blocks have begun.

        Args:
            data: what comes next.
            max_blocks: how many blocks may begin.
            one_frame: stop behind the end of a frame, too.

        Returns:
            How many bytes were walked over, and how many blocks began in them.

        Raises:
            ZstdFrameError: a frame's magic number or a block's type is wrong.
        """
        position = 0
        blocks = 0
        while True:
            step = min(self._skip_len, len(data) - position)
            position += step
            self._skip_len -= step
            if self._skip_len or position == len(data) or blocks == max_blocks:
                return position, blocks
            if one_frame and position and self.complete:
                return position, blocks
            used, began = self._read_head(data, position)
            if used == 0:  # the header goes on in the next piece
                self._head += data[position:]
                return len(data), blocks
            position += used
            blocks += began

    def _read_head(self, data: bytes, position: int) -> tuple[int, int]:
        known = len(self._head)
        head = self._head + data[position : position + 18]
        if self.inside_frame:
            head_len, began = self._block_head(head), 1
        else:
            head_len, began = self._frame_head(head), 0
        if head_len == 0:
            return 0, 0
        self._head = b""
        return head_len - known, began

    def _block_head(self, head: bytes) -> int:
        if len(head) < _BLOCK_HEAD_LEN:
            return 0
        value = int.from_bytes(head[:_BLOCK_HEAD_LEN], "little")
        kind, size = (value >> 1) & 3, value >> 3
        if kind == _RESERVED:
            raise ZstdFrameError("a zstd block of reserved type")
        self._skip_len = 1 if kind == _RLE else size
        if value & 1:
            self.inside_frame = False
            self._skip_len += _CHECKSUM_LEN if self._checksum else 0
        return _BLOCK_HEAD_LEN

    def _frame_head(self, head: bytes) -> int:
        if len(head) <= _MAGIC_LEN:
            return self._short_frame_head(head)
        magic = int.from_bytes(head[:_MAGIC_LEN], "little")
        if magic & 0xFFFFFFF0 == _SKIPPABLE_MAGIC:
            if len(head) < _SKIPPABLE_HEAD_LEN:
                return 0
            self._skip_len = int.from_bytes(head[_MAGIC_LEN:_SKIPPABLE_HEAD_LEN], "little")
            return _SKIPPABLE_HEAD_LEN
        if magic != _MAGIC:
            raise ZstdFrameError("no zstd frame begins here")
        descriptor = head[_MAGIC_LEN]
        single_segment = bool(descriptor & 0x20)
        content_size_len = (1 if single_segment else 0, 2, 4, 8)[descriptor >> 6]
        head_len = 5 + (not single_segment) + (0, 1, 2, 4)[descriptor & 3] + content_size_len
        if len(head) < head_len:
            return 0
        self._checksum = bool(descriptor & 4)
        self.inside_frame = True
        return head_len

    def _short_frame_head(self, head: bytes) -> int:
        magics = {_MAGIC, *range(_SKIPPABLE_MAGIC, _SKIPPABLE_MAGIC + 16)}
        if not any(magic.to_bytes(4, "little").startswith(head[:_MAGIC_LEN]) for magic in magics):
            raise ZstdFrameError("no zstd frame begins here")
        return 0
