"""Streams of one device for tests: a description and a body, as wrong as a test wants them."""

from pathlib import Path
from typing import Any

from qmig.capture.capture import open_capture
from qmig.devices import Device, open_devices
from tests.builders import framing, vmdesc

Json = dict[str, Any]


def field(name: str, kind: str, size: Any, **more: Any) -> Json:  # noqa: ANN401  # as wrong as wanted
    """Describe a field."""
    return {"name": name, "type": kind, "size": size, **more}


def layout(*fields: Any, name: str = "inner", **more: Any) -> Json:  # noqa: ANN401  # the same
    """Describe a struct or subsection."""
    return {"vmsd_name": name, "version": 1, "fields": list(fields), **more}


def device(*fields: Any, name: str = "dev", **more: Any) -> Json:  # noqa: ANN401  # the same
    """Describe a device."""
    head = {"name": name, "instance_id": 0, "vmsd_name": name, "version": 1}
    return {**head, "fields": list(fields), **more}


def stream(body: bytes, description: Json | bytes, *, name: str = "dev") -> bytes:
    """Return a stream with one device; a description in bytes is the whole text."""
    text = description
    if not isinstance(text, bytes):
        text = vmdesc.text({"page_size": 4096, "devices": [description]}).encode()
    return (
        framing.file_header()
        + framing.configuration("pc-i440fx-10.0")
        # A first one, so that it is known that sections have footers.
        + framing.section_full(2, "first", b"")
        + framing.section_full(3, name, body)
        + framing.end_of_file()
        + vmdesc.vmdescription(text)
    )


def decoded(folder: Path, body: bytes, description: Json | bytes, *, name: str = "dev") -> Device:
    """Return the device of such a stream, decoded."""
    path = folder / "stream"
    path.write_bytes(stream(body, description, name=name))
    with open_capture(path) as capture:
        _, found = open_devices(capture)
        assert found.read() == body
        assert found.tree is not None  # while the file is open
        return found
