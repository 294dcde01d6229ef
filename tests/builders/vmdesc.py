"""The JSON description behind the stream, in the text styles of both ages."""

import json
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from tests.builders.framing import VMDESCRIPTION
from tests.builders.primitives import be32

# An object as a list of pairs: real descriptions repeat keys inside one object.
Pairs: TypeAlias = list[tuple[str, Any]]


class JsonObject(Pairs):
    """A JSON object that keeps repeated keys and their order."""

    def first(self, key: str) -> Any:  # noqa: ANN401 (JSON can be anything)
        """Give the first value of a key.

        Raises:
            KeyError: The object has no such key.
        """
        for name, value in self:
            if name == key:
                return value
        raise KeyError(key)

    def get(self, key: str, default: object = None) -> Any:  # noqa: ANN401 (as above)
        """Give the first value of a key, or the default."""
        return next((value for name, value in self if name == key), default)


def parse(text: bytes | str) -> JsonObject:
    """Parse a description without losing repeated keys."""
    parsed = json.loads(text, object_pairs_hook=JsonObject)
    if not isinstance(parsed, JsonObject):
        raise TypeError(f"a description is an object, not {type(parsed).__name__}")
    return parsed


def _pairs(value: object) -> Sequence[tuple[str, Any]] | None:
    """Give an object's pairs, or None for what is not an object."""
    if isinstance(value, JsonObject):
        return value
    if isinstance(value, dict):
        return list(value.items())
    return None


def text(value: object, *, blanks: bool = False) -> str:
    """Write a description as QEMU does.

    Args:
        value: Dictionaries or JsonObject, lists, strings and integers.
        blanks: The style up to 5.2, with blanks inside brackets and before colons.
    """
    pairs = _pairs(value)
    pad = " " if blanks else ""
    if pairs is not None:
        inner = ", ".join(
            f"{json.dumps(key)}{pad}: {text(item, blanks=blanks)}" for key, item in pairs
        )
        return f"{{{pad}{inner}{pad}}}"
    if isinstance(value, list):
        return f"[{pad}{', '.join(text(item, blanks=blanks) for item in value)}{pad}]"
    return json.dumps(value)


def vmdescription(
    description: dict[str, Any] | JsonObject | bytes,
    *,
    blanks: bool = False,
    length: int | None = None,
) -> bytes:
    """Build the element that carries the description.

    Args:
        description: The description; bytes are taken as they are.
        blanks: See `text`.
        length: The length to announce in place of the true one.
    """
    raw = (
        description
        if isinstance(description, bytes)
        else text(description, blanks=blanks).encode("utf-8")
    )
    return bytes([VMDESCRIPTION]) + be32(len(raw) if length is None else length) + raw


def field(name: str, kind: str, size: int, **more: int) -> dict[str, Any]:
    """Describe one field; `array_len` or `index` stand between name and type."""
    return {"name": name, **more, "type": kind, "size": size}


def device(
    name: str,
    version: int,
    fields: Iterable[dict[str, Any]],
    *,
    instance_id: int = 0,
    vmsd_name: str | None = None,
) -> dict[str, Any]:
    """Describe a device by its fields."""
    return {
        "name": name,
        "instance_id": instance_id,
        "vmsd_name": name if vmsd_name is None else vmsd_name,
        "version": version,
        "fields": list(fields),
    }


def old_style_device(name: str, size: int, *, instance_id: int = 0) -> dict[str, Any]:
    """Describe a device whose own code writes one opaque buffer."""
    data = {"name": "data", "size": size, "type": "buffer"}
    return {"name": name, "instance_id": instance_id, "size": size, "fields": [data]}


TIMER_DEVICE = device(
    "timer",
    2,
    [
        field("cpu_ticks_offset", "int64", 8),
        field("unused", "unused_buffer", 8),
        field("cpu_clock_offset", "int64", 8),
    ],
)
GLOBALSTATE_OLD_DEVICE = device(
    "globalstate", 1, [field("size", "uint32", 4), field("runstate", "buffer", 100)]
)
GLOBALSTATE_DEVICE = device(
    "globalstate",
    1,
    [
        field("size", "uint32", 4),
        field("runstate", "buffer", 32),
        field("has_vm_was_suspended", "uint8", 1),
        field("vm_was_suspended", "uint8", 1),
        field("unused", "buffer", 66),
    ],
)


def configuration_entry(machine: str) -> dict[str, Any]:
    """Describe the configuration section, as releases from 8.2 on do."""
    fields = [field("len", "uint32", 4), field("name", "buffer", len(machine))]
    return {"vmsd_name": "configuration", "version": 1, "fields": fields}
