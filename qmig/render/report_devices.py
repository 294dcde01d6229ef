"""From the devices of a capture to the versioned document of `qmig devices`.

The document is described in `docs/json/devices.md`, and by a JSON schema beside it. It is made a
device at a time, so that memory is bounded by the largest one.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from qmig._version import __version__
from qmig.devices.facts import facts_of
from qmig.devices.live_facts import live_facts
from qmig.devices.tree import Blob, Group, Node, Numbers
from qmig.errors import StreamError
from qmig.render.document import Absent, Document, known, make
from qmig.render.words import pure

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from qmig.capture.capture import Capture
    from qmig.devices.devices import Device, Devices

SCHEMA: Final = "qmig.devices/1"
TIMER: Final = "timer"
_NANOSECONDS: Final = 10**9
_LEAST_TEXT_LEN: Final = 2
_DESCRIBED: Final = Absent("the stream describes it")


class Chosen(NamedTuple):
    """A device to tell of, and which of its fields.

    Attributes:
        device: the device.
        nodes: the fields; None: all of them, and what they mean.
        facts: what was chosen of what the fields mean, by name.
    """

    device: Device
    nodes: Sequence[Node] | None = None
    facts: Mapping[str, object] | None = None


def json_pieces(
    capture: Capture, devices: Devices, chosen: Sequence[Chosen], *, live: Collection[str]
) -> Iterator[str]:
    """Yield the document as JSON text: a line for each device.

    Args:
        capture: the capture.
        devices: all of its devices.
        chosen: those to tell of.
        live: the live sections to tell of, by name.
    """
    head = make(
        schema=SCHEMA,
        qmig_version=__version__,
        files=[pure(container.path) for container in capture.files],
        undescribed=devices.undescribed or _DESCRIBED,
        live=clean(live_facts(capture, live)) if live else Absent("not asked for"),
    )
    yield json.dumps(head)[:-1] + ', "devices": ['
    errors: list[StreamError] = list(capture.errors)
    for at, one in enumerate(chosen):
        yield ("," if at else "") + "\n" + json.dumps(device_object(one))
        if one.device.error is not None:
            errors.append(one.device.error)
        one.device.forget()
    yield "\n], " + json.dumps({"errors": [error_object(error) for error in errors]})[1:] + "\n"


def error_object(error: StreamError) -> Document:
    """Return an error by its place."""
    return {"file": pure(error.path or ""), "offset": error.offset, "text": pure(str(error))}


def device_object(one: Chosen) -> Document:
    """Return a device with its fields and what they mean."""
    device, nodes, chosen = one
    what, facts = facts_of(device)
    if nodes is not None:
        facts = dict(chosen or {})
    error = device.error
    return make(
        name=pure(device.name),
        instance_id=device.instance_id,
        version_id=device.version_id,
        offset=device.section_offset,
        body_offset=device.offset,
        body_length=device.length,
        what=what,
        undescribed=device.undescribed or _DESCRIBED,
        error=known(error and pure(str(error)), "it was decoded to its last byte"),
        facts=clean(facts) if nodes is None or facts else Absent("not asked for"),
        fields=[field_object(node) for node in (device.tree.children if nodes is None else nodes)],
    )


def field_object(node: Node) -> Document:
    """Return a field with its value, or with the fields that it is made of."""
    base: Document = {
        "name": pure(node.name),
        "type": pure(node.kind),
        "offset": node.offset,
        "length": node.length,
    }
    if isinstance(node, Group):
        base["form"] = node.form
        if node.version is not None:
            base["version"] = node.version
        base["fields"] = [field_object(child) for child in node.children]
    elif isinstance(node, Numbers):
        base["values"] = (
            [bool(value) for value in node.values] if node.kind == "bool" else list(node.values)
        )
    elif isinstance(node.value, Blob):
        base["bytes"] = None
        base["absent"] = {"bytes": f"{node.length} bytes are not written out"}
    elif isinstance(node.value, bytes):
        base["bytes"] = node.value.hex()
        text = text_of_bytes(node.value)
        if text is not None:
            base["text"] = text
    elif node.value is None:
        base["value"] = None
        base["absent"] = {"value": "a NULL pointer"}
    else:
        base["value"] = node.value
        if node.kind == TIMER:
            base["text"] = timer_text(node.value)
    return base


def timer_text(value: object) -> str:
    """Return when a timer fires, in seconds of its clock."""
    if not isinstance(value, int) or value < 0:
        return "not armed"
    return f"fires at {value / _NANOSECONDS:.6f} s"


def text_of_bytes(data: bytes) -> str | None:
    """Return bytes as text where they are: printable ASCII, with zeros behind it."""
    text = data.rstrip(b"\0")
    if len(text) < _LEAST_TEXT_LEN or not text.isascii():
        return None
    shown = text.decode("ascii")
    return shown if shown.isprintable() else None


def clean(facts: Any) -> Any:  # noqa: ANN401  # any JSON value
    """Return facts without those that are not known, fit for JSON."""
    if isinstance(facts, dict):
        return {name: clean(value) for name, value in facts.items() if value is not None}
    if isinstance(facts, list):
        return [clean(value) for value in facts]
    return pure(facts) if isinstance(facts, str) else facts
