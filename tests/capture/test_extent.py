"""Where sections without a grammar end: by the description, by footers, by neither."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import qmig
from qmig.capture.sections import Section
from tests.builders import framing, vmdesc
from tests.builders.machine import FIRST_DEVICE_ID, MainStream
from tests.builders.ram import BlockEntry, block_list, zero

MIB = 1 << 20


@dataclass(frozen=True)
class Made:
    """A stream with devices of known bodies."""

    data: bytes
    bodies: dict[str, bytes]


def make(
    bodies: dict[str, bytes],
    *,
    footers: bool = True,
    describe: bool = True,
    size_of: Callable[[str, int], int] = lambda _, size: size,
    trailing: bytes = b"",
) -> Made:
    """Write a stream whose devices have these bodies; `size_of` may lie about them."""
    stream = MainStream("10.0", "pc-i440fx-10.0", footers=footers)
    stream.ram_start(block_list([BlockEntry("pc.ram", 4096)]))
    stream.ram_end(zero(0, "pc.ram"))
    for name, body in bodies.items():
        stream.device(vmdesc.old_style_device(name, size_of(name, len(body))), body)
    return Made(stream.finish(describe=describe, trailing=trailing), bodies)


def rows_of(made: Made, path: Path) -> list[Section]:
    """Read a stream; return the rows of its devices."""
    path.write_bytes(made.data)
    with qmig.open_capture(path) as capture:
        assert capture.errors == []
        return [row for row in capture.stream.sections.rows if row.idstr in made.bodies]


def assert_found(made: Made, path: Path, *, footers: bool = True) -> set[str]:
    """Check that all bodies have their lengths; return how their ends were found."""
    rows = rows_of(made, path)
    found = {row.idstr: row.length - 14 - len(row.idstr) - 5 * footers for row in rows}
    assert found == {name: len(body) for name, body in made.bodies.items()}
    assert all(row.complete for row in rows)
    return {row.extent for row in rows}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "vm.sav"


PLAIN = {"first": b"\x01" * 100, "second": b"", "third": bytes(range(256)) * 9}


def footer_of(index: int) -> bytes:
    """The footer of the device with this index."""
    return framing.section_footer(FIRST_DEVICE_ID + index)


def test_a_description_tells(path: Path) -> None:
    assert assert_found(make(PLAIN), path) == {"vmdescription"}


def test_footers_tell_without_a_description(path: Path) -> None:
    assert assert_found(make(PLAIN, describe=False), path) == {"footer"}


def test_a_description_tells_without_footers(path: Path) -> None:
    made = make(PLAIN, footers=False)
    assert assert_found(made, path, footers=False) == {"vmdescription"}


def test_headers_are_guessed_without_either_and_it_is_said(path: Path) -> None:
    made = make({"first": b"\x01" * 100, "third": b"\x02" * 999}, footers=False, describe=False)
    assert assert_found(made, path, footers=False) == {"guess"}


FALSE_FOOTERS = {
    "alone": footer_of(0),
    "with zeros": footer_of(0) + bytes(400),
    "with an unknown id": footer_of(0) + b"\x02\0\0\0\x63",
    "with a wrong command": footer_of(0) + b"\x08\0\x63\0\0",
    "with a wrong length": footer_of(0) + b"\x08\0\x02\0\x09",
    "with a name that is none": footer_of(0) + b"\x04\0\0\0\x11\x03a\x01b" + bytes(8),
    "with an empty name": footer_of(0) + b"\x04\0\0\0\x11\0" + bytes(8),
    "with a huge id": footer_of(0) + b"\x04\x11\0\0\x11\x03abc" + bytes(8),
    "many": footer_of(0) * 50,
    "of others": footer_of(1) + b"\x04\0\0\0\x11\x03abc" + bytes(8),
}


@pytest.mark.parametrize("what", FALSE_FOOTERS)
@pytest.mark.parametrize("describe", [True, False])
def test_false_footers_in_a_body_are_passed_over(what: str, describe: bool, path: Path) -> None:
    body = b"\x55" * 20 + FALSE_FOOTERS[what] + b"\x66" * 700
    made = make({"first": body, "second": b"\x01" * 30}, describe=describe)
    assert assert_found(made, path) == {"vmdescription" if describe else "footer"}


def test_a_whole_section_in_a_body_fools_nobody_with_a_description(path: Path) -> None:
    inner = footer_of(0) + framing.section_full(FIRST_DEVICE_ID + 7, "fake", b"abc")
    made = make({"first": b"x" * 10 + inner + b"y" * 300, "second": b"\x01" * 30})
    assert assert_found(made, path) == {"vmdescription"}


@pytest.mark.parametrize("lie", [-1000, -1, 1, 5, 1000, 1 << 40])
def test_a_description_that_lies_is_not_believed(lie: int, path: Path) -> None:
    def size_of(name: str, size: int) -> int:
        return max(0, size + lie) if name == "first" else size

    made = make({"first": b"\x01" * 2000, "second": b"\x02" * 30}, size_of=size_of)
    assert assert_found(made, path) == {"footer", "vmdescription"}


def test_a_description_of_other_devices_is_not_believed(path: Path) -> None:
    made = make(PLAIN)
    data = made.data.replace(b'"first"', b'"other"').replace(b'"third"', b'"fifth"')
    assert assert_found(Made(data, PLAIN), path) == {"footer", "vmdescription"}


@pytest.mark.parametrize("trailing", [bytes(1), bytes(5000), b'\x06\x00\x00\x00\x10{ "', b"}" * 9])
def test_trailing_bytes_do_not_hide_the_description(trailing: bytes, path: Path) -> None:
    made = make(PLAIN, trailing=trailing)
    assert assert_found(made, path) == {"vmdescription"}


def test_a_false_description_in_a_body_is_passed_over(path: Path) -> None:
    text = b'{"page_size": 8192, "devices": [{"name": "first", "instance_id": 0, "size": 3}]}'
    fake = b"\x06" + len(text).to_bytes(4, "big") + text
    made = make({"first": b"\x01" * 40 + fake + b"\x02" * 40, "second": b"\x03" * 10})
    assert assert_found(made, path) == {"vmdescription"}
    path.write_bytes(made.data)
    with qmig.open_capture(path) as capture:
        assert capture.page_size is not None
        assert capture.page_size.length == 4096


def test_a_section_sent_twice_is_read_twice(path: Path) -> None:
    stream = MainStream("10.0", "pc-i440fx-10.0")
    stream.ram_start(block_list([BlockEntry("pc.ram", 4096)]))
    stream.ram_end(zero(0, "pc.ram"))
    for body in (b"\x01" * 10, b"\x02" * 500):
        stream.device(vmdesc.old_style_device("twice", len(body)), body)
    rows = rows_of(Made(stream.finish(), {"twice": b""}), path)
    # type, id, name, instance and version; the body; the footer
    assert [row.length for row in rows] == [14 + 5 + 10 + 5, 14 + 5 + 500 + 5]


@pytest.mark.parametrize("around", range(-12, 13, 3))
def test_a_footer_across_the_edge_of_a_search_is_found(around: int, path: Path) -> None:
    body = b"\x7e" * (MIB + around)
    made = make({"first": body, "second": b"\x01" * (2 * MIB + around)}, describe=False)
    assert assert_found(made, path) == {"footer"}


@pytest.mark.parametrize("around", range(-12, 13, 3))
def test_a_header_across_the_edge_of_a_guess_is_found(around: int, path: Path) -> None:
    bodies = {"first": b"\x04" * (MIB + around), "second": b"\x01" * 30}
    made = make(bodies, footers=False, describe=False)
    assert assert_found(made, path, footers=False) == {"guess"}


def test_overlapping_headers_do_not_hide_each_other(path: Path) -> None:
    bodies = {"first": b"\x02" * 50 + b"\x04\0\0\x04", "second": b"\x01" * 30}
    made = make(bodies, footers=False, describe=False)
    assert assert_found(made, path, footers=False) == {"guess"}


@pytest.mark.parametrize("instance_id", [0, 0x71000003, 0xFFFFFFFF])
@pytest.mark.parametrize("version_id", [0, 10_000, 0xFFFFFFFF])
def test_any_instance_and_version_may_follow_a_footer(
    instance_id: int, version_id: int, path: Path
) -> None:
    """Pseries has LIOBNs as instances, and the watchdog i6300esb version 10000."""
    stream = MainStream("10.0", "pc-i440fx-10.0")
    stream.ram_start(block_list([BlockEntry("pc.ram", 4096)]))
    stream.ram_end(zero(0, "pc.ram"))
    for section_id, name in ((20, "first"), (21, "second")):
        stream.add(
            framing.section_full(
                section_id, name, b"\x01" * 77, instance_id=instance_id, version_id=version_id
            )
        )
    made = Made(stream.finish(describe=False), {"first": b"\x01" * 77, "second": b"\x01" * 77})
    assert assert_found(made, path) == {"footer"}


def test_a_section_without_any_end_is_told_where_it_begins(path: Path) -> None:
    made = make({"first": b"\x02" * 300}, describe=False)
    path.write_bytes(made.data[:-50])
    with qmig.open_capture(path) as capture:
        (error,) = capture.errors
        start = made.data.index(b"\x02" * 300)
        assert error.offset == start
        assert "'first'" in error.record
        assert footer_of(0).hex(" ") in error.expected
        assert capture.ram["pc.ram"].read(0, 4096) == bytes(4096), "RAM came before it"


def test_mixed_footers_are_an_error(path: Path) -> None:
    """A stream has footers behind all sections or behind none."""
    stream = MainStream("10.0", "pc-i440fx-10.0")
    stream.ram_start(block_list([BlockEntry("pc.ram", 4096)]))
    stream.add(framing.section_end(1, zero(0, "pc.ram") + b"\0" * 7 + b"\x10", footer=b""))
    path.write_bytes(stream.finish(describe=False))
    with qmig.open_capture(path) as capture:
        (error,) = capture.errors
        assert "footer of END section 'ram'" in error.record
        assert error.expected == "7e 00 00 00 01"


@pytest.mark.parametrize("what", ["mark", "id in the footer", "id in the header"])
def test_damage_to_a_footer_is_found_where_it_stands(what: str, path: Path) -> None:
    """The description tells where the footer is; what follows it is read all the same."""
    made = make(PLAIN)
    body = PLAIN["first"]
    footer_at = made.data.index(body + framing.section_footer(FIRST_DEVICE_ID)) + len(body)
    header_at = footer_at - len(body) - 8 - len(b"\x05first") - 4 - 1
    at = {"mark": footer_at, "id in the footer": footer_at + 4, "id in the header": header_at + 4}
    damaged = bytearray(made.data)
    damaged[at[what]] ^= 1  # the id of the section behind, or the one before
    path.write_bytes(damaged)
    with qmig.open_capture(path) as capture:
        (error,) = capture.errors
        assert error.offset == footer_at
        assert error.record == "footer of FULL section 'first'"
    verdict = qmig.validate(path)
    assert verdict.unjudged == []
    rule = "QM017" if what == "mark" else "QM018"
    assert [(found.rule.id, found.offset) for found in verdict.findings] == [(rule, footer_at)]
    assert verdict.missing is not None
    assert (verdict.missing.ram, verdict.missing.devices) == ([], [])
