"""Errors of the gate: their type, and the byte and field that they name."""

import pytest
from construct import Int8ub, Int32ub
from hypothesis import given
from hypothesis import strategies as st

from qmig.capture.source import Cursor
from qmig.errors import LimitExceededError, MalformedStreamError, TruncatedStreamError
from qmig.limits import MAX_MACHINE_NAME_LEN
from qmig.wire.framing import ConfigurationRecord, SectionHead
from qmig.wire.gate import read_record, spaced_hex
from qmig.wire.multifd import MultifdInit, MultifdPacket9
from qmig.wire.record import WireRecord, constant, wire
from tests.sources import BytesSource
from tests.wire.triple import Triple
from tests.wire.triples import TRIPLES

START = 0x1000  # records do not begin at 0 in these tests, so that offsets show

each_triple = pytest.mark.parametrize("triple", TRIPLES, ids=lambda t: t.record.__name__)


def cursor_at(data: bytes, *, limit: int | None = None) -> Cursor:
    return Cursor(BytesSource(bytes(START) + data, name="vm.sav"), START, limit=limit)


@each_triple
def test_a_record_is_read_and_the_cursor_moved_behind_it(triple: Triple) -> None:
    cursor = cursor_at(triple.raw + b"\xaa" * 300)
    assert read_record(cursor, triple.record, what="it").as_dict() == triple.values
    assert cursor.offset == START + len(triple.raw)


@each_triple
def test_data_that_ends_inside_is_truncation_at_the_records_start(triple: Triple) -> None:
    for length in range(len(triple.raw)):
        for limit in (None, START + length):
            data = triple.raw[: length if limit is None else None]
            cursor = cursor_at(data, limit=limit)
            with pytest.raises(TruncatedStreamError) as caught:
                read_record(cursor, triple.record, what="it")
            error = caught.value
            assert (error.path, error.offset, error.record) == ("vm.sav", START, "it")
            assert error.available_len == length
            assert length < error.wanted_len <= len(triple.raw)
            assert cursor.offset == START


def constant_fields() -> list[tuple[Triple, str]]:
    return [(triple, name) for triple in TRIPLES for name in triple.record._constants]


@pytest.mark.parametrize(
    ("triple", "field"),
    constant_fields(),
    ids=[f"{triple.record.__name__}.{name}" for triple, name in constant_fields()],
)
def test_a_wrong_constant_is_named_with_its_field_and_byte(triple: Triple, field: str) -> None:
    offset, length = triple.offsets[field]
    wrong = bytearray(triple.raw)
    wrong[offset + length - 1] ^= 0xFF
    cursor = cursor_at(bytes(wrong))
    with pytest.raises(MalformedStreamError) as caught:
        read_record(cursor, triple.record, what="it")
    error = caught.value
    assert not isinstance(error, LimitExceededError)
    assert (error.path, error.offset, error.field) == ("vm.sav", START + offset, field)
    assert error.found == bytes(wrong[offset : offset + length]).hex(" ")
    value = triple.values[field]
    assert error.expected == (f"0x{value:x}" if isinstance(value, int) else repr(value))
    assert str(error).startswith(f"vm.sav: 0x{START + offset:08x} it: {field}: expected ")


class LateMark(WireRecord):
    """A record whose constant does not come first."""

    before: int = wire(Int32ub, "anything")
    mark: int = constant(0x7E, Int8ub, "a mark")


def test_a_wrong_constant_further_back_is_named_at_its_byte() -> None:
    with pytest.raises(MalformedStreamError) as caught:
        read_record(cursor_at(bytes.fromhex("0000000a7f")), LateMark, what="it")
    error = caught.value
    assert (error.offset, error.field) == (START + 4, "mark")
    assert (error.expected, error.found) == ("0x7e", "7f")


def test_a_packet_whose_magic_is_wrong_prints_as_documented() -> None:
    with pytest.raises(MalformedStreamError) as caught:
        read_record(cursor_at(bytes(320)), MultifdPacket9, what="multifd channel 1 packet 0")
    assert str(caught.value) == (
        "vm.sav: 0x00001000 multifd channel 1 packet 0: magic: "
        "expected 0x11223344, found 00 00 00 00"
    )


def test_a_counted_field_above_its_ceiling_is_refused_before_it_is_read() -> None:
    for length in (MAX_MACHINE_NAME_LEN + 1, 0x7FFFFFFF, 0xFFFFFFFF):
        data = b"\x07" + length.to_bytes(4, "big") + b"pc"
        source = BytesSource(bytes(START) + data, name="vm.sav")
        with pytest.raises(LimitExceededError) as caught:
            read_record(Cursor(source, START), ConfigurationRecord, what="configuration")
        error = caught.value
        assert (error.offset, error.field) == (START + 1, "length of name")
        assert error.expected == f"at most {MAX_MACHINE_NAME_LEN}"
        assert error.found == str(length)


def test_the_longest_counted_field_that_is_allowed_is_read() -> None:
    name = b"m" * MAX_MACHINE_NAME_LEN
    data = b"\x07" + len(name).to_bytes(4, "big") + name
    assert read_record(cursor_at(data), ConfigurationRecord, what="it").name == name


@pytest.mark.parametrize("length", [0, 1, 127, 128, 255])
def test_lengths_of_counted_strings_are_unsigned(length: int) -> None:
    data = b"\x04" + bytes(4) + bytes([length]) + b"n" * length + bytes(8)
    head = read_record(cursor_at(data), SectionHead, what="it")
    assert len(head.idstr) == length
    assert head.build() == data


FREE = [triple for triple in TRIPLES if triple.size is not None]


@pytest.mark.parametrize("triple", FREE, ids=lambda t: t.record.__name__)
@given(data=st.data())
def test_any_bits_but_those_of_constants_are_kept(triple: Triple, data: st.DataObject) -> None:
    """Unknown flags, versions, reserved and undefined bytes: parsed as found, built the same."""
    raw = bytearray(data.draw(st.binary(min_size=len(triple.raw), max_size=len(triple.raw))))
    for field in triple.record._constants:
        offset, length = triple.offsets[field]
        raw[offset : offset + length] = triple.raw[offset : offset + length]
    assert read_record(cursor_at(bytes(raw)), triple.record, what="it").build() == bytes(raw)


def test_reserved_bytes_of_the_initial_packet_are_kept() -> None:
    """4.2 leaves there what its stack held."""
    raw = bytes.fromhex("1122334400000001") + bytes(16) + b"\x01" + bytes(range(0xB4, 0xB4 + 39))
    record: WireRecord = read_record(cursor_at(raw), MultifdInit, what="it")
    assert record.build() == raw


def test_bytes_in_errors_are_short() -> None:
    assert spaced_hex(b"") == "nothing"
    assert spaced_hex(b"\x00\xff") == "00 ff"
    assert spaced_hex(bytes(17)) == "00 " * 16 + "..."
    assert spaced_hex(bytes(9), most=8) == "00 " * 8 + "..."
