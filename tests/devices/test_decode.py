"""What each type of a description becomes, and what a description that lies leads to."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmig.devices.decode import NOT_DECODED
from qmig.devices.devices import Device
from qmig.devices.tree import Field, Group, Numbers, counted_len, number, numbers
from qmig.limits import MAX_DEVICE_FIELDS, MAX_DEVICE_NESTING
from tests.devices.described import Json, decoded, device, field, layout
from tests.property.patience import soon


def value(found: Device, path: str) -> Any:  # noqa: ANN401  # any value
    node = found.find(path)
    assert isinstance(node, Field)
    return node.value


@pytest.mark.parametrize(
    ("kind", "raw", "expected"),
    [
        ("bool", b"\x00", False),
        ("bool", b"\x02", True),
        ("int8", b"\xff", -1),
        ("uint8", b"\xff", 255),
        ("int16", b"\x80\x00", -32768),
        ("uint16 equal", b"\x80\x00", 32768),
        ("int32 le", b"\x00\x00\x00\x02", 2),
        ("int32 equal", b"\xff\xff\xff\xfe", -2),
        ("uint32", b"\x80\x00\x00\x00", 1 << 31),
        ("int64", b"\xff" * 8, -1),
        ("uint64", b"\xff" * 8, (1 << 64) - 1),
        ("timer", b"\xff" * 8, -1),
        ("CPU_Double_U", b"\x3f\xf0" + bytes(6), 0x3FF0 << 48),
        ("cpsr", b"\x40\x00\x00\x1f", 0x4000001F),
        ("fpr", b"\x80" + bytes(7), 1 << 63),  # POWER
        ("fpr", bytes(range(16)), bytes(range(16))),  # MIPS: two be64 of a vector register
        ("fpscr", b"\x80\x00\x00\x00", 1 << 31),
        ("fsr", b"\x80" + bytes(7), 1 << 63),
        ("nullptr", b"0", None),
        ("buffer", b"text", b"text"),
        ("buffer", b"", b""),
        ("bitmap", b"\x00\x00\x00\x00\x00\x00\x00\x05", b"\x00\x00\x00\x00\x00\x00\x00\x05"),
        ("never heard of", b"abc", b"abc"),
    ],
)
def test_a_type_becomes_a_value(kind: str, raw: bytes, expected: object, tmp_path: Path) -> None:
    found = decoded(
        tmp_path, b"\x11" + raw, device(field("a", "uint8", 1), field("x", kind, len(raw)))
    )
    assert found.error is None
    assert value(found, "x") == expected
    node = found.find("x")
    assert node is not None
    assert (node.offset, node.length) == (found.offset + 1, len(raw))


def test_arrays_of_numbers_have_elements_by_index(tmp_path: Path) -> None:
    body = struct.pack(">3h", 1, -2, 3) + b"\x01\x00" + b"\x07\x08"
    found = decoded(
        tmp_path,
        body,
        device(
            field("env.regs", "int16", 2, array_len=3),
            field("flags", "bool", 1, array_len=2),
            field("bytes", "uint8", 1, array_len=2),
        ),
    )
    assert list(numbers(found.tree, "env.regs")) == [1, -2, 3]
    assert value(found, "env.regs[1]") == -2
    assert value(found, "flags[0]") is True
    assert value(found, "bytes[1]") == 8
    assert found.find("env.regs[3]") is None
    assert found.find("env.regs[-1]") is None


def test_structs_subsections_and_paths(tmp_path: Path) -> None:
    body = b"\x01\x02\x03" + b"\x05\x09dev/extra\x00\x00\x00\x02" + b"\x04"
    inner = layout(field("a.b", "uint8", 1), name="pair")
    extra = {**layout(field("last", "uint8", 1), name="dev/extra"), "version": 2}
    found = decoded(
        tmp_path,
        body,
        device(
            field("one", "struct", 1, struct=inner),
            field("two", "struct", 1, struct=inner, array_len=2),
            subsections=[extra],
        ),
    )
    assert found.error is None
    assert [number(found.tree, f"{path}.a.b") for path in ("one", "two[0]", "two[1]")] == [1, 2, 3]
    assert number(found.tree, "one/a.b") == 1
    assert number(found.tree, "dev/extra.last") == number(found.tree, "dev/extra/last") == 4
    sub = found.find("dev/extra")
    assert isinstance(sub, Group)
    assert (sub.version, sub.offset, sub.length) == (2, found.offset + 3, len(body) - 3)


def test_the_pieces_of_an_array_are_one_array(tmp_path: Path) -> None:
    """With `index` but for the last one, as 10.0 does, or with NULL pointers between them."""
    pieces = [
        field("bus", "struct", 1, index=0, struct=layout(field("x", "uint8", 1))),
        field("bus", "struct", 2, struct=layout(field("x", "uint16", 2))),
        field("css", "nullptr", 1, array_len=2),
        field("css", "struct", 1, struct=layout(field("x", "uint8", 1))),
        field("css", "nullptr", 1),
    ]
    found = decoded(tmp_path, b"\x01\x00\x0200\x0b0", device(*pieces))
    assert found.error is None
    assert [number(found.tree, path) for path in ("bus[0].x", "bus[1].x", "css[2].x")] == [1, 2, 11]
    assert value(found, "css[3]") is None


def test_a_list_has_its_elements_under_repeated_keys(tmp_path: Path) -> None:
    element = (
        '"vmsd_name": "e", "version": 1, "fields": [{"name": "n", "type": "uint8", "size": 1}]'
    )
    text = (
        '{"page_size": 4096, "devices": [{"name": "dev", "instance_id": 0, "vmsd_name": "dev", '
        f'"version": 1, "fields": [{{"name": "q", "type": "qtailq", {element}, {element}, '
        '"size": 5}, {"name": "empty", "type": "qlist", "size": 1}]}]}'
    )
    found = decoded(tmp_path, b"\x01\x0a\x01\x0b\x00\x00", text.encode())
    assert found.error is None
    assert [number(found.tree, f"q[{at}].n") for at in range(2)] == [10, 11]
    wrong = decoded(tmp_path, b"\x01\x0a\x00\x0b\x00\x00", text.encode())
    assert wrong.error is not None
    assert wrong.error.offset == wrong.offset + 2
    assert "expected 0x01 for an element" in str(wrong.error)


def test_a_tree_has_keys_and_values(tmp_path: Path) -> None:
    element = (
        '"vmsd_name": "e", "version": 1, "fields": [{"name": "n", "type": "uint8", "size": 1}]'
    )
    text = (
        '{"page_size": 4096, "devices": [{"name": "dev", "instance_id": 0, "vmsd_name": "dev", '
        f'"version": 1, "fields": [{{"name": "t", "type": "gtree", {element}, "size": 15}}]}}]}}'
    )
    body = b"\x00\x00\x00\x01" + b"\x01" + bytes(7) + b"\x09" + b"\x0a" + b"\x00"
    found = decoded(tmp_path, body, text.encode())
    assert found.error is None
    assert (number(found.tree, "t[0].key"), number(found.tree, "t[0].value.n")) == (9, 10)


def test_inline_layouts_are_nested(tmp_path: Path) -> None:
    tmp = field("tmp", "tmp", 3, **layout(field("exp", "uint16", 2), field("m", "uint8", 1)))
    found = decoded(tmp_path, b"\x00\x05\x06", device(tmp))
    assert (number(found.tree, "tmp.exp"), number(found.tree, "tmp.m")) == (5, 6)


def deep(levels: int) -> Json:
    inner = layout(field("x", "uint8", 1))
    for _ in range(levels):
        inner = layout(field("s", "struct", 1, struct=inner))
    return device(field("s", "struct", 1, struct=inner))


_X = field("x", "uint8", 1)
_LIES: dict[str, tuple[bytes, Json, int, str]] = {
    "too short": (
        b"abc",
        device(_X),
        1,
        "expected the end of the section, by its description, found 2 more bytes",
    ),
    "too long": (
        b"a",
        device(_X, field("y", "buffer", 9)),
        1,
        "y: expected 9 bytes, found 0 bytes to the end",
    ),
    "huge": (
        b"a",
        device(field("y", "buffer", 1 << 60)),
        0,
        "y: expected 1152921504606846976 bytes",
    ),
    "huge array": (b"a", device(field("y", "uint8", 1, array_len=1 << 60)), 0, "y: expected"),
    "huge array of nothing": (
        b"",
        device(field("y", "buffer", 0, array_len=1 << 60)),
        0,
        f"expected a description of at most {MAX_DEVICE_FIELDS} fields",
    ),
    "huge array of no numbers": (
        b"",
        device(field("y", "uint8", 0, array_len=1 << 60)),
        0,
        "y: expected 1 bytes for uint8, found 0 by its description",
    ),
    "wrong size of a type": (
        b"abc",
        device(field("y", "uint32", 3)),
        0,
        "expected 4 bytes for uint32, found 3",
    ),
    "wrong sum": (
        b"abc",
        device(field("s", "struct", 3, struct=layout(_X))),
        0,
        "s: expected 3 bytes, by its description, found 1 bytes in its parts",
    ),
    "negative": (
        b"abc",
        device(field("y", "buffer", -3)),
        0,
        "with a number as its size, found -3",
    ),
    "no number": (
        b"abc",
        device(field("y", "buffer", "3")),
        0,
        "with a number as its size, found '3'",
    ),
    "no count": (
        b"abc",
        device(field("y", "buffer", 3, array_len=[])),
        0,
        "with a number as its array_len",
    ),
    "no field": (b"abc", device("abc"), 0, "expected a description of fields, found 'abc'"),
    "fields are no list": (b"abc", {**device(), "fields": {}}, 0, "with a list of fields"),
    "another subsection": (
        b"\x05\x01a\x00\x00\x00\x01",
        device(subsections=[layout(name="b")]),
        0,
        "b: expected subsection 'b', by the description, found subsection 'a'",
    ),
    "no subsection": (
        b"\x06\x01a\x00\x00\x00\x01",
        device(subsections=[layout(name="a")]),
        0,
        "expected 0x5",
    ),
    "wrong index": (
        b"ab",
        device(field("y", "buffer", 1, index=1)),
        0,
        "expected index 0, found index 1",
    ),
    "no null pointer": (b"1", device(field("y", "nullptr", 1)), 0, "expected 0x30, found 0x31"),
    "deep": (b"a", deep(MAX_DEVICE_NESTING + 1), 0, f"at most {MAX_DEVICE_NESTING} levels"),
}


@pytest.mark.parametrize("lie", _LIES)
def test_a_lie_is_one_line_with_its_byte(lie: str, tmp_path: Path) -> None:
    body, description, at, says = _LIES[lie]
    with soon():
        found = decoded(tmp_path, body, description)
    assert found.error is not None
    assert found.error.offset == found.offset + at
    assert says in str(found.error)
    assert "\n" not in str(found.error)
    assert counted_len(found.tree) == found.tree.length == len(body)


def test_what_stands_before_a_lie_is_kept(tmp_path: Path) -> None:
    found = decoded(tmp_path, b"\x07abc", device(_X, field("s", "struct", 3, struct=layout(_X))))
    assert number(found.tree, "x") == 7
    assert number(found.tree, "s.x") == ord("a")
    assert value(found, NOT_DECODED) == b"bc"


def test_depth_just_below_the_limit_is_decoded(tmp_path: Path) -> None:
    assert decoded(tmp_path, b"a", deep(MAX_DEVICE_NESTING - 1)).error is None


def test_recursion_in_the_text_is_not_followed(tmp_path: Path) -> None:
    nested = '{"name": "s", "type": "struct", "size": 1, "struct": {"fields": [' * 20_000
    text = '{"page_size": 4096, "devices": [{"name": "dev", "instance_id": 0, "fields": [' + nested
    with soon():
        found = decoded(tmp_path, b"abc", text.encode())
    assert found.undescribed is not None
    assert value(found, NOT_DECODED) == b"abc"


_names = st.sampled_from(["a", "b", "a[0]", "x.y", ""])
_kinds = st.sampled_from(
    ["uint8", "int32", "bool", "buffer", "timer", "struct", "qtailq", "gtree", "nullptr", "bitmap",
     "virtio", "pci config", "msix state", "tmp", "unused_buffer", "?"]
)  # fmt: skip
_sizes = st.one_of(st.integers(0, 12), st.sampled_from([-1, 1 << 40, 1 << 70, None, "4", 1.5]))


def _field(layouts: st.SearchStrategy[Json]) -> st.SearchStrategy[Json]:
    optional = {"array_len": _sizes, "index": st.integers(0, 2), "struct": layouts}
    return st.fixed_dictionaries(
        {"name": _names, "type": _kinds, "size": _sizes}, optional=optional
    )


_layouts = st.recursive(
    st.fixed_dictionaries(
        {"vmsd_name": _names, "version": st.integers(0, 3), "fields": st.just([])}
    ),
    lambda inner: st.fixed_dictionaries(
        {"vmsd_name": _names, "fields": st.lists(_field(inner), max_size=4)},
        optional={"subsections": st.lists(inner, max_size=2), "version": st.integers()},
    ),
    max_leaves=6,
)


@given(body=st.binary(max_size=200), described=_layouts)
@settings(max_examples=300)
def test_no_description_does_harm(
    body: bytes, described: Json, tmp_path_factory: pytest.TempPathFactory
) -> None:
    text = {"page_size": 4096, "devices": [{"name": "dev", "instance_id": 0, **described}]}
    with soon():
        found = decoded(tmp_path_factory.getbasetemp(), body, json.dumps(text).encode())
    assert counted_len(found.tree) == found.tree.length == len(body)
    assert found.error is None or found.error.offset >= found.offset


def test_numbers_show_what_they_are() -> None:
    assert repr(Numbers("n", "uint8", 16, 2, b"ab")) == "Numbers('n', 'uint8', 0x10, 2)"
