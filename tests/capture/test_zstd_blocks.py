"""The scanner of zstd blocks against real frames, in pieces of any length."""

import random

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from qmig.pages.zstd_blocks import BLOCK_MAX_LEN, ZstdBlockScanner, ZstdFrameError

RANDOM = random.Random(3).randbytes(300_000)  # noqa: S311  # the same in each run
SKIPPABLE = (0x184D2A53).to_bytes(4, "little") + (9).to_bytes(4, "little") + b"skip me.."


def frame(data: bytes, *, write_checksum: bool = False, write_content_size: bool = True) -> bytes:
    packed: bytes = zstandard.ZstdCompressor(
        level=1, write_checksum=write_checksum, write_content_size=write_content_size
    ).compress(data)
    return packed


def flushed(data: bytes, pieces: int) -> bytes:
    """A frame that was flushed some times and never ended, as multifd writes it."""
    stream = zstandard.ZstdCompressor(level=1, write_content_size=False).compressobj()
    step = len(data) // pieces
    return b"".join(
        stream.compress(data[at : at + step]) + stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
        for at in range(0, len(data), step)
    )


FRAMES = {
    "random": frame(RANDOM),
    "zeros": frame(bytes(2_000_000)),
    "text": frame(b"page " * 70_000),
    "empty": frame(b""),
    "checksum": frame(RANDOM[:1000], write_checksum=True),
    "no content size": frame(b"abc" * 9000, write_content_size=False),
    "content of 300 bytes": frame(bytes(range(250)) + bytes(50)),
    "one byte": frame(b"x"),
    "skippable": SKIPPABLE,
}


@pytest.mark.parametrize("name", FRAMES)
def test_a_frame_is_complete_at_its_end_alone(name: str) -> None:
    data = FRAMES[name]
    scanner = ZstdBlockScanner()
    assert scanner.scan(data, max_blocks=1000)[0] == len(data)
    assert scanner.complete
    for cut in {1, 3, 4, 5, 8, len(data) // 2, len(data) - 1}:
        if 0 < cut < len(data):
            scanner = ZstdBlockScanner()
            scanner.scan(data[:cut], max_blocks=1000)
            assert not scanner.complete, cut


@given(
    names=st.lists(st.sampled_from(sorted(FRAMES)), min_size=1, max_size=4),
    lengths=st.lists(st.integers(1, 5000), min_size=1, max_size=20),
)
def test_pieces_make_no_difference(names: list[str], lengths: list[int]) -> None:
    data = b"".join(FRAMES[name] for name in names)
    whole = ZstdBlockScanner()
    _, blocks = whole.scan(data, max_blocks=10**9)
    scanner, at, total = ZstdBlockScanner(), 0, 0
    turn = 0
    while at < len(data):
        piece = data[at : at + lengths[turn % len(lengths)]]
        used, began = scanner.scan(piece, max_blocks=10**9)
        assert used == len(piece)
        at += used
        total += began
        turn += 1
    assert total == blocks
    assert scanner.complete


@pytest.mark.parametrize("most", [1, 2, 7])
@pytest.mark.parametrize("name", ["random", "zeros", "text"])
def test_blocks_are_bounded_and_can_be_decoded_as_cut(name: str, most: int) -> None:
    data = FRAMES[name]
    scanner = ZstdBlockScanner()
    decoder = zstandard.ZstdDecompressor().decompressobj()
    plain = b""
    at = 0
    while at < len(data):
        used, began = scanner.scan(data[at:], max_blocks=most)
        assert used > 0
        assert began <= most
        part = decoder.decompress(data[at : at + used])
        assert len(part) <= most * BLOCK_MAX_LEN
        plain += part
        at += used
    assert plain == zstandard.ZstdDecompressor().decompress(data, max_output_size=3_000_000)


def test_frames_are_told_apart_on_demand() -> None:
    one, other = FRAMES["text"], FRAMES["checksum"]
    scanner = ZstdBlockScanner()
    used, _ = scanner.scan(one + other + b"\0" * 9, max_blocks=1000, one_frame=True)
    assert used == len(one)
    used, _ = scanner.scan(other + b"\0" * 9, max_blocks=1000, one_frame=True)
    assert used == len(other)
    assert scanner.complete


def test_a_frame_that_is_flushed_stays_open() -> None:
    scanner = ZstdBlockScanner()
    data = flushed(RANDOM, 5)
    assert scanner.scan(data, max_blocks=1000)[0] == len(data)
    assert not scanner.complete
    assert scanner.inside_frame


def test_what_is_no_frame_is_refused() -> None:
    for data in (b"PK\x03\x04", b"\x28\xb5\x2f\xfe" + bytes(20), b"\x00", b"\x28\xb5Q"):
        with pytest.raises(ZstdFrameError):
            ZstdBlockScanner().scan(data, max_blocks=10)
    reserved = bytes.fromhex("28b52ffd0058") + (3 << 1).to_bytes(3, "little")
    with pytest.raises(ZstdFrameError, match="reserved"):
        ZstdBlockScanner().scan(reserved, max_blocks=10)
