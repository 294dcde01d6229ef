"""The vmdescription: repeated keys, sizes, text styles, and what is none."""

import json
from typing import Any

import pytest

from qmig.limits import MAX_DEVICE_DESCRIPTION_LEN
from qmig.wire.vmdesc import VmDescError, decode_device, parse_vmdescription

Json = dict[str, Any]


def description(*devices: Json, **more: object) -> bytes:
    return json.dumps({"page_size": 4096, "devices": list(devices), **more}).encode()


def field(name: str, size: int, **more: object) -> Json:
    return {"name": name, "type": "uint8", "size": size, **more}


def device(*fields: Json, **more: object) -> Json:
    head = {"name": "dev", "instance_id": 0, "vmsd_name": "dev", "version": 1}
    return {**head, "fields": list(fields), **more}


def body_len(entry: Json) -> int | None:
    return parse_vmdescription(description(entry)).devices[0].body_len


def test_fields_are_summed_and_arrays_multiplied() -> None:
    assert body_len(device(field("a", 4), field("b", 8, array_len=3), field("c", 0))) == 28


def test_indexed_elements_count_each() -> None:
    assert body_len(device(field("a", 3, index=0), field("a", 5, index=1))) == 8


def test_nested_structs_are_not_counted_twice() -> None:
    inner = {"vmsd_name": "inner", "version": 1, "fields": [field("x", 100)]}
    assert body_len(device(field("s", 104, struct=inner))) == 104


def test_subsections_count_with_their_heads() -> None:
    sub = {"vmsd_name": "dev/extra", "version": 2, "fields": [field("x", 10)]}
    nested = {**sub, "subsections": [{"vmsd_name": "dev/extra/y", "version": 1, "fields": []}]}
    assert body_len(device(field("a", 1), subsections=[sub])) == 1 + (1 + 1 + 9 + 4 + 10)
    assert body_len(device(field("a", 1), subsections=[nested])) == 1 + 25 + (1 + 1 + 11 + 4)


def test_old_style_handlers_have_one_size() -> None:
    old = {"name": "slirp", "instance_id": 0, "size": 77, "fields": [field("data", 77)]}
    assert body_len(old) == 77


def test_repeated_keys_are_all_kept() -> None:
    """A list field writes vmsd_name, version and fields once for each element."""
    text = description(device(field("list", 21)))
    twice = text.replace(b'"size": 21', b'"vmsd_name": "e", "vmsd_name": "e", "size": 21')
    pairs = decode_device(twice, parse_vmdescription(twice).devices[0])
    (entry,) = pairs.first("fields")
    assert [key for key, _ in entry].count("vmsd_name") == 2
    assert body_len(device(field("list", 21))) == 21


def test_the_first_of_repeated_fields_counts() -> None:
    text = description(device(field("a", 4)))
    assert text.count(b'"size": 4') == 1
    twice = text.replace(b'"size": 4', b'"size": 4, "size": 9')
    assert parse_vmdescription(twice).devices[0].body_len == 4


def test_text_style_and_configuration_are_told() -> None:
    plain = parse_vmdescription(description())
    assert not plain.blanks
    assert not plain.has_configuration
    assert plain.page_size_len == 4096
    spaced = parse_vmdescription(b'{ "page_size" : 1024, "devices" : [ ] }')
    assert spaced.blanks
    assert spaced.page_size_len == 1024
    configured = parse_vmdescription(description(configuration={"vmsd_name": "configuration"}))
    assert configured.has_configuration


@pytest.mark.parametrize(
    ("changed", "expected"),
    [({"size": "4"}, None), ({"size": -4}, None), ({"size": True}, None), ({"size": 4.5}, None)],
)
def test_sizes_that_are_no_counts_leave_the_length_unknown(changed: Json, expected: None) -> None:
    assert body_len(device({**field("a", 4), **changed})) is expected
    assert body_len(device(field("a", 4, array_len=-1))) is None


@pytest.mark.parametrize(
    "text",
    [
        b"", b"{", b"[]", b"null", b"{}", b'{"devices": {}}', b'{"devices": [1]}',
        b'{"devices": [{"name": "x"}]}', b'{"devices": [{"name": 1, "instance_id": 0}]}',
        b'{"devices": [{"name": "x", "instance_id": -1}]}', b"\xff\xfe{}",
        b'{"devices": []} trailing',
    ],
)  # fmt: skip
def test_what_is_no_vmdescription_is_refused(text: bytes) -> None:
    with pytest.raises(VmDescError):
        parse_vmdescription(text)


def nested(depth: int) -> bytes:
    return b'{"devices": [], "x": ' + b'{"struct": ' * depth + b"1" + b"}" * depth + b"}"


def test_nesting_is_bounded() -> None:
    assert parse_vmdescription(nested(100)).devices == ()
    with pytest.raises(VmDescError, match="nested"):
        parse_vmdescription(nested(100_000))


def test_nested_subsections_are_bounded() -> None:
    deep = b'{"vmsd_name": "s", "fields": [], "subsections": [' * 100_000 + b"]}" * 100_000
    entry = b'{"devices": [{"name": "x", "instance_id": 0, "subsections": [' + deep + b"]}]}"
    with pytest.raises(VmDescError):
        parse_vmdescription(entry)


def test_a_device_is_bounded() -> None:
    entry = device(field("x" * MAX_DEVICE_DESCRIPTION_LEN, 1))
    with pytest.raises(VmDescError):
        parse_vmdescription(description(entry))
    long = device(field("x" * (MAX_DEVICE_DESCRIPTION_LEN // 2), 1))
    assert parse_vmdescription(description(long, device(field("y", 2)))).devices[1].body_len == 2


@pytest.mark.parametrize("wrong", [5, "x", True, {"a": 1}, [5], [[]]])
@pytest.mark.parametrize("key", ["fields", "subsections"])
def test_what_is_no_list_of_objects_leaves_the_length_unknown(key: str, wrong: object) -> None:
    assert body_len({**device(field("a", 4)), key: wrong}) is None


def test_names_that_are_no_text_count_too() -> None:
    sub = {"vmsd_name": "\ud800", "version": 1, "fields": []}
    assert body_len(device(subsections=[sub])) == 1 + 1 + 3 + 4


def test_half_a_surrogate_pair_is_no_character() -> None:
    text = (
        b'{"devices": [{"name": "a\\ud800\\u00e4\\ud83d\\ude00", "instance_id": 0,'
        b' "fields": [{"\\udfff": ["\\udc80"]}]}]}'
    )
    (entry,) = parse_vmdescription(text).devices
    assert entry.name == "a\ufffd\u00e4\U0001f600"
    (only,) = decode_device(text, entry).first("fields")
    assert only == [("\ufffd", ["\ufffd"])]
    deep = b'{"devices": [], "x": "\\u0041", "y": ' + b"[" * 900 + b'"\\u0041"' + b"]" * 900 + b"}"
    with pytest.raises(VmDescError, match="nested too deep"):
        parse_vmdescription(deep)


def test_every_device_can_be_decoded_again() -> None:
    entries = [device(field("a", n), name=f"dev{n}", instance_id=n) for n in range(3)]
    text = description(*entries)
    parsed = parse_vmdescription(text)
    assert [(d.name, d.instance_id, d.body_len) for d in parsed.devices] == [
        (f"dev{n}", n, n) for n in range(3)
    ]
    for entry, found in zip(entries, parsed.devices, strict=True):
        assert dict(decode_device(text, found)).keys() == entry.keys()
        assert json.loads(text.decode()[found.start : found.end]) == entry


def test_brackets_in_strings_do_not_nest() -> None:
    name = "[{" * 500 + '\\"'
    entry = device()
    entry["name"] = name
    assert parse_vmdescription(description(entry)).devices[0].name == name
