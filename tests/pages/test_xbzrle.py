"""The XBZRLE encoder against its decoder, hand-written bytes and the builders' encoder."""

from typing import Final

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmig.pages.xbzrle import decode_into, encode, encode_pages
from tests.builders import xbzrle as builder

ANY_LEN: Final = 1 << 20
COUNTING: Final = bytes(range(256))


def decoded(old: bytes, encoding: bytes) -> bytes:
    page = bytearray(old)
    decode_into(page, encoding)
    return bytes(page)


def changed(old: bytes, changes: dict[int, bytes]) -> bytes:
    page = bytearray(old)
    for at, new in changes.items():
        page[at : at + len(new)] = new
    return bytes(page)


@st.composite
def two_contents(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A page and the page after some writes, of lengths around those of the long form."""
    size = draw(st.sampled_from([256, 1024, 4096, 8192]))
    old = draw(st.sampled_from([bytes(size), COUNTING * (size // 256)]))
    new = bytearray(old)
    lengths = st.sampled_from([1, 2, 3, 7, 8, 9, 63, 127, 128, 129, 1000, size])
    for _ in range(draw(st.integers(0, 12))):
        length = min(draw(lengths), size)
        begin = draw(st.integers(0, size - length))
        value = draw(st.integers(0, 255))
        new[begin : begin + length] = (COUNTING * (size // 256 + 1))[value : value + length]
    return old, bytes(new)


OLD: Final = bytes(4096)

BY_HAND = {
    "nothing": (OLD, ""),
    "first byte": (changed(OLD, {0: b"\xee"}), "0001ee"),
    "last byte": (changed(OLD, {4095: b"\xee"}), "ff1f01ee"),
    "two runs, and the rest stays": (
        changed(OLD, {1: b"\x11\x22", 203: b"\x33"}),
        "01021122" + "c801" + "0133",
    ),
    "127 bytes stay": (changed(OLD, {127: b"\1"}), "7f0101"),
    "128 bytes stay": (changed(OLD, {128: b"\1"}), "80010101"),
    "127 bytes are new": (changed(OLD, {0: b"\5" * 127}), "007f" + "05" * 127),
    "128 bytes are new": (changed(OLD, {0: b"\5" * 128}), "008001" + "05" * 128),
    "one byte between": (changed(OLD, {8: b"\1\0\1"}), "080101" + "010101"),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_by_hand(name: str) -> None:
    new, expected = BY_HAND[name]
    encoding = encode(OLD, new, max_len=4096)
    assert encoding is not None
    assert encoding.hex() == expected
    assert decoded(OLD, encoding) == new


@given(two_contents())
def test_the_decoder_gives_it_back(contents: tuple[bytes, bytes]) -> None:
    old, new = contents
    encoding = encode(old, new, max_len=ANY_LEN)
    assert encoding == builder.encode(old, new)
    assert decoded(old, encoding) == new


@given(st.binary(min_size=256, max_size=256), st.binary(min_size=256, max_size=256))
def test_any_two_contents(old: bytes, new: bytes) -> None:
    encoding = encode(old, new, max_len=ANY_LEN)
    assert encoding == builder.encode(old, new)
    assert decoded(old, encoding) == new


@given(st.lists(two_contents(), min_size=1, max_size=8), st.integers(1, 300))
def test_many_pages_are_encoded_as_each_alone(
    contents: list[tuple[bytes, bytes]], repeats: int
) -> None:
    some = [(old[:256], new[:256]) for old, new in contents]
    old, new = (
        np.frombuffer(b"".join(side) * repeats, np.uint8).reshape(-1, 256)
        for side in zip(*some, strict=True)
    )
    alone = [encode(*pair, max_len=100) for pair in some]
    assert encode_pages(old, new, max_len=100) == alone * repeats


def test_steps_of_many_pages_meet() -> None:
    """More pages than are encoded in one go, each with a change of its own."""
    count = 300
    old = np.zeros((count, 4096), np.uint8)
    new = old.copy()
    new[np.arange(count), np.arange(count)] = 1
    new[7] = 0
    encodings = encode_pages(old, new, max_len=4096)
    assert encodings == [
        b"" if page == 7 else builder.encode(bytes(4096), new[page].tobytes())
        for page in range(count)
    ]


@given(two_contents())
def test_none_where_it_is_too_long(contents: tuple[bytes, bytes]) -> None:
    """Two bytes more than the encoding are wanted where the page goes on behind the last run."""
    old, new = contents
    whole = builder.encode(old, new)
    if not whole:
        assert encode(old, new, max_len=0) == b""
        return
    room = 2 if old[-1] == new[-1] else 0
    assert encode(old, new, max_len=len(whole) + room) == whole
    assert encode(old, new, max_len=len(whole) + room - 1) is None


@pytest.mark.parametrize("runs", [1, 49, 50, 51, 52, 200])
@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("tail", [b"", b"\0"])
def test_few_runs_and_many_are_encoded_alike(runs: int, first: int, tail: bytes) -> None:
    new = b"\0" * first + b"\0".join([b"\7"] * runs) + tail
    old = bytes(len(new))
    expected = builder.encode(old, new)
    for max_len in range(len(expected), len(expected) + 4):
        fits = max_len >= len(expected) + (2 if tail else 0)
        assert encode(old, new, max_len=max_len) == (expected if fits else None)


def test_a_page_with_no_byte_left_is_too_long() -> None:
    new = bytes([1]) * 4096
    assert encode(OLD, new, max_len=4096) is None
    assert encode(OLD, new, max_len=4099) == bytes.fromhex("008020") + new
    every_other = bytes([0, 1]) * 2048
    assert encode(OLD, every_other, max_len=4096) is None


def test_a_number_above_two_bytes_cannot_be_written() -> None:
    size = 65536
    old = bytes(size)
    last = 16383
    assert encode(old, changed(old, {last: b"\1"}), max_len=size) == bytes.fromhex("ff7f0101")
    assert encode(old, changed(old, {last + 1: b"\1"}), max_len=size) is None
    assert encode(old, changed(old, {0: b"\1" * last}), max_len=size) is not None
    assert encode(old, changed(old, {0: b"\1" * (last + 1)}), max_len=size) is None


def test_takes_what_holds_bytes() -> None:
    new = changed(OLD, {9: b"abc"})
    array = np.frombuffer(new, np.uint8)
    for form in (new, bytearray(new), memoryview(new), array):
        assert encode(OLD, form, max_len=4096) == bytes.fromhex("0903616263")


def test_refuses_contents_of_different_lengths() -> None:
    with pytest.raises(ValueError, match="shape"):
        encode(OLD, bytes(2048), max_len=4096)
    with pytest.raises(ValueError, match="shape"):
        encode_pages(np.zeros(16, np.uint8), np.zeros(16, np.uint8), max_len=16)


def test_no_pages() -> None:
    none = np.zeros((0, 4096), np.uint8)
    assert encode_pages(none, none, max_len=4096) == []
