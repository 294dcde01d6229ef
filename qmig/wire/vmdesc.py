"""The vmdescription: JSON behind EOF that tells the layout of the device sections.

One entry for each FULL section, in stream order. Source: migration/savevm.c
(vmstate_save) and migration/vmstate.c (vmsd_desc_field_start) of 2.3 to 11.1.

The JSON repeats keys inside one object where a list field has several elements, so it is parsed
with every pair kept; and a parser that counts nesting first, because it is input from outside.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from qmig.limits import MAX_VMDESC_DEPTH

if TYPE_CHECKING:
    from collections.abc import Iterator


class VmDescError(ValueError):
    """The text is not a vmdescription; the message says why."""


class Pairs(list[tuple[str, Any]]):
    """A JSON object with all its pairs in order; `first` gives a key's first value."""

    def first(self, key: str, default: Any = None) -> Any:  # noqa: ANN401
        """Return the value of the first pair with this key."""
        return next((value for name, value in self if name == key), default)


@dataclass(frozen=True, slots=True)
class DeviceEntry:
    """One device of a vmdescription.

    Attributes:
        name: idstr of the section.
        instance_id: instance of the section.
        body_len: bytes of its body, as the description adds up; None if it does not.
        pairs: the whole object.
    """

    name: str
    instance_id: int
    body_len: int | None
    pairs: Pairs


@dataclass(frozen=True, slots=True)
class VmDescription:
    """A parsed vmdescription.

    Attributes:
        page_size_len: bytes of a target page, None where it is not said.
        devices: one entry for each FULL section, in stream order.
        has_configuration: whether it describes the configuration section (8.2 and later).
        blanks: whether the text has blanks around its punctuation (5.2 and older).
    """

    page_size_len: int | None
    devices: tuple[DeviceEntry, ...]
    has_configuration: bool
    blanks: bool


def parse_vmdescription(text: bytes) -> VmDescription:
    """Parse the JSON text.

    Raises:
        VmDescError: not JSON, nested too deep, or without the parts it must have.
    """
    check_nesting(text)
    try:
        root = json.loads(text, object_pairs_hook=Pairs)
    except (ValueError, RecursionError) as error:
        raise VmDescError(f"not JSON: {error}") from error
    if not isinstance(root, Pairs):
        raise VmDescError("not a JSON object")
    devices = root.first("devices")
    if not isinstance(devices, list) or isinstance(devices, Pairs):
        raise VmDescError("has no list of devices")
    page_size = root.first("page_size")
    return VmDescription(
        page_size_len=page_size if _is_count(page_size) else None,
        devices=tuple(_device(entry) for entry in devices),
        has_configuration=root.first("configuration") is not None,
        blanks=text.startswith(b"{ "),
    )


_QUOTE: Final = ord('"')


def check_nesting(text: bytes) -> None:
    """Raise `VmDescError` where JSON text nests deeper than the limit; strings are left out."""
    depth = 0
    for bracket in _brackets(text):
        depth += 1 if bracket in b"{[" else -1
        if depth > MAX_VMDESC_DEPTH:
            raise VmDescError(f"nested deeper than {MAX_VMDESC_DEPTH} levels")


def _brackets(text: bytes) -> Iterator[int]:
    """Yield the brackets outside strings."""
    import re

    for match in re.finditer(rb'"(?:[^"\\]|\\.)*"|[{}\[\]]', text):
        first = text[match.start()]
        if first != _QUOTE:
            yield first


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _device(entry: object) -> DeviceEntry:
    if not isinstance(entry, Pairs):
        raise VmDescError("a device is not an object")
    name, instance_id = entry.first("name"), entry.first("instance_id")
    if not isinstance(name, str) or not _is_count(instance_id):
        raise VmDescError("a device has no name or no instance_id")
    return DeviceEntry(name, instance_id, device_body_len(entry), entry)


def device_body_len(entry: Pairs) -> int | None:
    """Return the bytes of a device's section body, or None where the description lacks a size.

    An old-style handler has one `size`; the others are the sum of their fields and subsections.
    """
    size = entry.first("size")
    if size is not None:
        return size if _is_count(size) else None
    return _body_len(entry)


def _body_len(body: Pairs) -> int | None:
    total = 0
    for field in body.first("fields") or ():
        if not isinstance(field, Pairs):
            return None
        size, count = field.first("size"), field.first("array_len", 1)
        if not (_is_count(size) and _is_count(count)):
            return None
        total += size * count
    for sub in body.first("subsections") or ():
        sub_len = _body_len(sub) if isinstance(sub, Pairs) else None
        name = sub.first("vmsd_name") if isinstance(sub, Pairs) else None
        if sub_len is None or not isinstance(name, str):
            return None
        # mark, length byte, name, version (migration/vmstate.c vmstate_subsection_save)
        total += 1 + 1 + len(name.encode()) + 4 + sub_len
    return total
