"""A second reader of device descriptions, which shares no code with qmig: where each value lies."""

import json
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

from tests.builders import vmdesc
from tests.builders.vmdesc import JsonObject


class Place(NamedTuple):
    """Bytes of one value, counted from the body's first byte; `kind` is the described type."""

    at: int
    size: int
    kind: str


def described(data: Any) -> dict[tuple[str, int], list[JsonObject]]:  # noqa: ANN401  # or mmap
    """Return the devices that a stream's last description lists, by name and instance."""
    at = len(data)
    while (at := data.rfind(b"\x06", 0, at)) >= 0:
        (length,) = struct.unpack(">I", data[at + 1 : at + 5].ljust(4, b"\xff"))
        text = data[at + 5 : at + 5 + length]
        if len(text) != length or text[:1] != b"{":
            continue
        try:
            parsed = vmdesc.parse(text)
        except (json.JSONDecodeError, UnicodeDecodeError):
            continue
        found: dict[tuple[str, int], list[JsonObject]] = {}
        for device in parsed.first("devices"):
            found.setdefault((device.first("name"), device.first("instance_id")), []).append(device)
        return found
    return {}


def places(layout: JsonObject, at: int = 0) -> Iterator[Place]:
    """Yield the values of a layout in their order, as the sizes say."""
    for entry in layout.get("fields", []):
        for _ in range(entry.get("array_len", 1)):
            start = at
            if entry.get("struct") is not None:
                for place in places(entry.first("struct"), at):
                    yield place
                    at = place.at + place.size
            elif entry.get("type") in ("qtailq", "qlist"):
                for copy in _copies(entry):
                    yield from (inner := list(places(copy, at + 1)))
                    at = inner[-1].at + inner[-1].size if inner else at + 1
            elif entry.get("fields") is not None:
                yield from places(entry, at)
            else:
                yield Place(at, entry.first("size"), entry.first("type"))
            at = start + entry.first("size")
    for sub in layout.get("subsections", []):
        at += 1 + 1 + len(sub.first("vmsd_name")) + 4
        for place in places(sub, at):
            yield place
            at = place.at + place.size


def _copies(entry: JsonObject) -> list[JsonObject]:
    """Split the repeated keys of a list: one layout for each element."""
    copies: list[JsonObject] = []
    for key, value in entry:
        if key == "vmsd_name":
            copies.append(JsonObject())
        if copies:
            copies[-1].append((key, value))
    return copies
