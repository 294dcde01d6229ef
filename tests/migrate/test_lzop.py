"""lzop's file format, byte by byte."""

import struct
import zlib

import lzallright

from qmig.limits import MAX_LZOP_BLOCK_LEN
from qmig.migrate.lzop import LzopCompressor

# `lzop -c` of release 1.04 wrote this of 35 times "a"; its time of day is not kept.
TOOL_HEAD = bytes.fromhex(
    "894c5a4f000d0a1a0a 1040 20a0 0940 01 05 0300000d 00000000 6b01b001 00000000 00 27fd028d"
)
TIME_OFFSET = 25


def test_head_is_that_of_the_tool_at_another_time() -> None:
    packed = LzopCompressor().flush()
    head, end = packed[: len(TOOL_HEAD)], packed[len(TOOL_HEAD) :]
    assert head[:TIME_OFFSET] == TOOL_HEAD[:TIME_OFFSET]
    assert head[TIME_OFFSET:-4] == bytes(9)
    for whole in (head, TOOL_HEAD):
        assert whole[-4:] == struct.pack(">L", zlib.adler32(whole[9:-4]))
    assert end == bytes(4)


def test_blocks_are_those_of_the_tool() -> None:
    plain = b"a" * 35
    packed = LzopCompressor()
    data = packed.compress(plain) + packed.flush()
    body = data[len(TOOL_HEAD) :]
    plain_len, stored_len, checksum = struct.unpack_from(">LLL", body)
    assert (plain_len, checksum) == (35, 0xEED90D44)  # the checksum that the tool wrote
    assert stored_len < plain_len
    unpacked = lzallright.LZOCompressor.decompress(body[12 : 12 + stored_len])
    assert unpacked == plain
    assert body[12 + stored_len :] == bytes(4)


def test_block_that_does_not_shrink_is_stored() -> None:
    packed = LzopCompressor()
    data = packed.compress(b"abc") + packed.flush()
    assert data[len(TOOL_HEAD) :] == (
        struct.pack(">LLL", 3, 3, zlib.adler32(b"abc")) + b"abc" + bytes(4)
    )


def test_blocks_are_cut_where_the_tool_cuts_them() -> None:
    packed = LzopCompressor()
    pieces = [packed.compress(bytes(100_000)) for _ in range(6)]
    assert [len(piece) > 0 for piece in pieces] == [True, False, True, False, False, True]
    body = b"".join(pieces) + packed.flush()
    at, lengths = len(TOOL_HEAD), []
    while length := struct.unpack_from(">L", body, at)[0]:
        lengths.append(length)
        at += 12 + struct.unpack_from(">L", body, at + 4)[0]
    assert lengths == [MAX_LZOP_BLOCK_LEN, MAX_LZOP_BLOCK_LEN, 600_000 - 2 * MAX_LZOP_BLOCK_LEN]
