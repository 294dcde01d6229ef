"""XBZRLE as the loader sees it: legal encodings, and where illegal ones show."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmig.pages.xbzrle import XbzrleError, decode_into
from tests.builders import xbzrle
from tests.builders.xbzrle import Run, uleb128

PAGE = bytes(byte % 251 for byte in range(4096))


def decoded(encoding: bytes, page: bytes = PAGE) -> bytes:
    content = bytearray(page)
    decode_into(content, encoding)
    return bytes(content)


@st.composite
def legal_runs(draw: st.DrawFn) -> list[Run]:
    left, runs = len(PAGE), list[Run]()
    for number in range(draw(st.integers(0, 12))):
        unchanged = draw(st.integers(1 if number else 0, max(1, left // 2)))
        left -= unchanged
        if left < 1:
            break
        new = draw(st.binary(min_size=1, max_size=min(left, 200)))
        left -= len(new)
        runs.append(Run(unchanged, new))
    return runs


@given(legal_runs(), st.booleans())
def test_legal_encodings_change_what_they_say(runs: list[Run], long_form: bool) -> None:
    expected, at = bytearray(PAGE), 0
    encoding = b""
    for run in runs:
        at += run.unchanged
        expected[at : at + len(run.new)] = run.new
        at += len(run.new)
        encoding += uleb128(run.unchanged, long_form=long_form)
        encoding += uleb128(len(run.new), long_form=long_form) + run.new
    assert decoded(encoding) == expected
    if not long_form:
        assert encoding == xbzrle.build(runs)


@given(st.binary(min_size=300, max_size=300), st.binary(min_size=300, max_size=300))
def test_an_encoded_change_gives_the_new_page(old: bytes, new: bytes) -> None:
    assert decoded(xbzrle.encode(old, new), old) == new


def test_an_empty_encoding_changes_nothing() -> None:
    assert decoded(b"") == PAGE


def test_the_whole_page_and_its_last_byte_can_change() -> None:
    whole = uleb128(0) + uleb128(4096) + bytes(4096)
    assert decoded(whole) == bytes(4096)
    last = uleb128(4095) + uleb128(1) + b"!"
    assert decoded(last) == PAGE[:-1] + b"!"


@pytest.mark.parametrize("value", [0, 1, 127, 128, 129, 255, 4095, 16383])
def test_both_forms_of_a_number(value: int) -> None:
    for long_form in {value > 127, True}:
        number = uleb128(value, long_form=long_form)
        page = bytes(20000)
        assert decoded(number + b"\x01!", page) == bytes(value) + b"!" + bytes(19999 - value)


ILLEGAL = {
    "zero unchanged bytes later": (uleb128(1) + uleb128(1) + b"a" + uleb128(0) + b"\x01b", 3),
    "zero new bytes": (uleb128(1) + uleb128(0) + b"aa", 1),
    "trailing unchanged run": (uleb128(1) + uleb128(1) + b"a" + uleb128(5), 3),
    "unchanged run alone": (uleb128(5), 0),
    "long unchanged run alone": (uleb128(500), 2),
    "three-byte number": (b"\x80\x80\x01" + b"\x01a", 0),
    "three-byte count": (b"\x01" + b"\xff\xff\x01" + b"a" * 20, 1),
    "unchanged beyond the page": (uleb128(4097) + uleb128(1) + b"a", 0),
    "new bytes beyond the page": (uleb128(4096) + uleb128(1) + b"a", 2),
    "new bytes far beyond the page": (uleb128(0) + uleb128(4097) + b"a" * 4097, 1),
    "fewer literals than told": (uleb128(3) + uleb128(9) + b"12345678", 1),
    "no literals": (uleb128(3) + uleb128(9) + b"", 1),
}


@pytest.mark.parametrize("what", ILLEGAL)
def test_illegal_forms_are_refused_where_they_show(what: str) -> None:
    encoding, position = ILLEGAL[what]
    with pytest.raises(XbzrleError) as caught:
        decoded(encoding)
    assert caught.value.position == position
    assert str(position) in str(caught.value)


@given(st.binary(max_size=200))
def test_anything_else_is_a_change_or_an_error(encoding: bytes) -> None:
    content = bytearray(PAGE)
    try:
        decode_into(content, encoding)
    except XbzrleError as error:
        assert 0 <= error.position < len(encoding)
    assert len(content) == len(PAGE)


@given(legal_runs().filter(bool), st.data())
def test_a_cut_encoding_is_refused_or_ends_at_a_run(runs: list[Run], data: st.DataObject) -> None:
    encoding = xbzrle.build(runs)
    borders = {len(xbzrle.build(runs[:count])) for count in range(len(runs) + 1)}
    cut = data.draw(st.integers(0, len(encoding)))
    if cut in borders:
        decoded(encoding[:cut])
    else:
        with pytest.raises(XbzrleError):
            decoded(encoding[:cut])
