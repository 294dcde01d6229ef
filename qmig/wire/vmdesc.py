"""The vmdescription: JSON behind EOF that tells the layout of the device sections.

One entry for each FULL section, in stream order. Source: migration/savevm.c
(vmstate_save) and migration/vmstate.c (vmsd_desc_field_start) of 2.3 to 11.1.

The JSON repeats keys inside one object where a list field has several elements, so every pair is
kept. It is input from outside: one device is decoded at a time, and of each only what `inspect`
needs stays, so that memory is bounded by the longest device and not by the text.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from qmig.limits import KIB, MAX_DEVICE_DESCRIPTION_LEN

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class VmDescError(ValueError):
    """The text is not a vmdescription; the message says why."""


class Pairs(list[tuple[str, Any]]):
    """A JSON object with all its pairs in order; `first` gives a key's first value."""

    def first(self, key: str, default: Any = None) -> Any:  # noqa: ANN401  # any JSON value
        """Return the value of the first pair with this key."""
        for name, value in self:
            if name == key:
                return value
        return default


@dataclass(frozen=True)
class DeviceEntry:
    """One device of a vmdescription.

    Attributes:
        name: idstr of the section.
        instance_id: instance of the section.
        body_len: bytes of its body, as the description adds up; None if it does not.
        start: where its JSON object begins in the text, in characters.
        end: where it ends.
    """

    name: str
    instance_id: int
    body_len: int | None
    start: int
    end: int


@dataclass(frozen=True)
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


_DECODER: Final = json.JSONDecoder(object_pairs_hook=Pairs)
_BLANKS: Final = " \t\r\n"
_USUAL_DEVICE_LEN: Final = 32 * KIB


def parse_vmdescription(text: bytes) -> VmDescription:
    """Parse the JSON text.

    Raises:
        VmDescError: not JSON, nested too deep, or without the parts it must have.
    """
    try:
        decoded = text.decode()
    except UnicodeDecodeError as error:
        raise VmDescError(f"not UTF-8: {error}") from error
    start = len(decoded) - len(decoded.lstrip())
    if not decoded.startswith("{", start):
        raise VmDescError("not a JSON object")
    page_size: object = None
    devices: tuple[DeviceEntry, ...] | None = None
    configuration = False
    position = _behind(decoded, start + 1)
    while decoded.startswith('"', position):
        key, position = _value(decoded, position)
        position = _behind(decoded, position, also=":")
        if key == "devices" and decoded.startswith("[", position):
            devices, position = _devices(decoded, position + 1)
        else:
            value, position = _value(decoded, position)
            configuration = configuration or key == "configuration"
            page_size = value if key == "page_size" else page_size
        position = _behind(decoded, position)
    if devices is None:
        raise VmDescError("has no list of devices")
    if not decoded.startswith("}", position):
        raise VmDescError(f"not a JSON object behind character {position}")
    if decoded[position + 1 :].strip(_BLANKS):
        raise VmDescError(f"more text behind the JSON object, at character {position + 1}")
    return VmDescription(
        page_size_len=page_size if isinstance(page_size, int) and _is_count(page_size) else None,
        devices=devices,
        has_configuration=configuration,
        blanks=text.startswith(b"{ "),
    )


def decode_devices(text: bytes, devices: Iterable[DeviceEntry]) -> Iterator[Pairs]:
    """Yield the whole descriptions of devices, one at a time.

    Args:
        text: the JSON text that `parse_vmdescription` was given.
        devices: entries that it returned.
    """
    decoded = text.decode()
    for device in devices:
        value, _ = _value(decoded, device.start)
        yield value if isinstance(value, Pairs) else Pairs()


def decode_device(text: bytes, device: DeviceEntry) -> Pairs:
    """Return the whole description of one device; see `decode_devices`."""
    return next(decode_devices(text, [device]))


def _value(text: str, position: int) -> tuple[Any, int]:
    """Decode one JSON value; return it and the position behind it."""
    for length in (_USUAL_DEVICE_LEN, MAX_DEVICE_DESCRIPTION_LEN):
        piece = text[position : position + length]
        try:
            value, end = _DECODER.raw_decode(piece)
            if "\\u" in piece[:end]:
                value = _with_characters(value)
        except ValueError as error:
            if len(piece) == length and length != MAX_DEVICE_DESCRIPTION_LEN:
                continue  # perhaps it only goes on behind the piece
            raise VmDescError(f"not JSON at character {position}: {error}") from error
        except RecursionError as error:
            raise VmDescError(f"nested too deep at character {position}") from error
        return value, position + end
    raise VmDescError(f"not JSON at character {position}")


def _with_characters(value: Any) -> Any:  # noqa: ANN401  # any JSON value
    r"""Return a value in whose texts U+FFFD stands for each half of a surrogate pair.

    JSON can spell one (`\ud800`), but it is no character and has no bytes. U+FFFD is what QEMU
    itself writes for what is none (qobject/json-writer.c).
    """
    if isinstance(value, str):
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(value, Pairs):
        return Pairs((_with_characters(key), _with_characters(item)) for key, item in value)
    if isinstance(value, list):
        return [_with_characters(item) for item in value]
    return value


def _behind(text: str, position: int, *, also: str = ",") -> int:
    """Return the position behind blanks and what stands between values."""
    skipped = _BLANKS + also
    while position < len(text) and text[position] in skipped:
        position += 1
    return position


def _devices(text: str, position: int) -> tuple[tuple[DeviceEntry, ...], int]:
    """Decode the list of devices behind its bracket; return it and the position behind it."""
    devices: list[DeviceEntry] = []
    while True:
        position = _behind(text, position)
        if text.startswith("]", position):
            return tuple(devices), position + 1
        value, end = _value(text, position)
        devices.append(_device(value, position, end))
        position = end


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _device(entry: object, start: int, end: int) -> DeviceEntry:
    if not isinstance(entry, Pairs):
        raise VmDescError(f"the device at character {start} is not an object")
    name, instance_id = entry.first("name"), entry.first("instance_id")
    if not isinstance(name, str) or not _is_count(instance_id):
        raise VmDescError(f"the device at character {start} has no name or no instance_id")
    try:
        body_len = device_body_len(entry)
    except RecursionError as error:
        raise VmDescError(f"nested too deep at character {start}") from error
    return DeviceEntry(name, instance_id, body_len, start, end)


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
    for field in _list(body, "fields"):
        if not isinstance(field, Pairs):
            return None
        size, count = field.first("size"), field.first("array_len", 1)
        if not (_is_count(size) and _is_count(count)):
            return None
        total += size * count
    for sub in _list(body, "subsections"):
        sub_len = _body_len(sub) if isinstance(sub, Pairs) else None
        name = sub.first("vmsd_name") if isinstance(sub, Pairs) else None
        if sub_len is None or not isinstance(name, str):
            return None
        # mark, length byte, name, version (migration/vmstate.c vmstate_subsection_save)
        total += 1 + 1 + len(name.encode("utf-8", "surrogatepass")) + 4 + sub_len
    return total


def _list(body: Pairs, key: str) -> list[Any]:
    """Return a list in a JSON object; what is no list gives one element that is no object."""
    value = body.first(key)
    if value is None:
        return []
    return value if isinstance(value, list) and not isinstance(value, Pairs) else [value]
