"""Each device section of each fixture is decoded to its last byte, and to the right values.

Where the sections lie is told by `tests.oracle`, where their values lie by `tests.oracle_devices`;
neither knows anything of qmig.
"""

from pathlib import Path

import qmig
from qmig.devices import Device, open_devices
from qmig.devices.tree import Field, Group, Node, Numbers, counted_len
from tests import oracle
from tests.conftest import CaptureFiles
from tests.corpus import FIXTURES, each_fixture
from tests.oracle_channel import page_size_of
from tests.oracle_devices import Place, described, places
from tests.unwrap import unwrap

_FULL = 4
_HEAD_LEN = 14  # and the name
_FOOTER_LEN = 5
_INTEGERS = {
    f"{sign}int{8 * size}": (size, not sign) for sign in ("", "u") for size in (1, 2, 4, 8)
}


@each_fixture
def test_every_device_is_decoded_to_its_last_byte(name: str, capture_files: CaptureFiles) -> None:
    files = capture_files(name)
    with qmig.open_capture(*files) as capture:
        assert capture.main is not None
        plain = unwrap(Path(capture.main.path))
        walk = oracle.MainWalk(
            plain.data, page_size_of(FIXTURES[name].covers), offset=plain.stream_offset
        )
        sections = [s for s in walk.walk().sections if s.kind == _FULL]
        devices = open_devices(capture)
        assert [(d.name.encode(), d.instance_id, d.section_offset) for d in devices] == [
            (s.idstr, s.instance_id, s.offset) for s in sections
        ]
        layouts = described(plain.data)
        footer_len = _FOOTER_LEN if capture.stream.footers else 0
        for section, device in zip(sections, devices, strict=True):
            at = section.offset + _HEAD_LEN + len(section.idstr)
            body = plain.data[at : section.end - footer_len]
            assert device.error is None
            assert device.offset == at
            assert device.length == device.tree.length == counted_len(device.tree) == len(body)
            mine = layouts.get((device.name, device.instance_id))
            assert (device.undescribed is None) == bool(mine)
            if mine:
                check_values(device, body, list(places(mine.pop(0))))
        # No one but RDMA knows what stands behind a hook: that walk ends there.
        assert not any(layouts.values()) or name == "handmade-ram-hook"


def check_values(device: Device, body: bytes, expected: list[Place]) -> None:
    """Hold the leaves of a device against what the second reader says of it."""
    found: dict[tuple[int, int], Node] = {}
    collect(device.tree, found)
    for place in expected:
        node = found[device.offset + place.at, place.size]
        raw = body[place.at : place.at + place.size]
        if place.kind in _INTEGERS:
            size, signed = _INTEGERS[place.kind]
            assert place.size == size
            assert isinstance(node, Field)
            assert node.value == int.from_bytes(raw, "big", signed=signed)
        elif place.kind == "bool":
            assert isinstance(node, Field)
            assert node.value is (raw != b"\0")
        elif place.kind in ("buffer", "unused_buffer") and isinstance(node, Field):
            assert node.value == raw or node.length > len(raw)


def collect(node: Node, into: dict[tuple[int, int], Node]) -> None:
    """Note nodes by offset and length; the innermost one of several wins."""
    into[node.offset, node.length] = node
    if isinstance(node, Group):
        for child in node.children:
            collect(child, into)
    elif isinstance(node, Numbers):
        for index in range(len(node.values)):
            element = node.element(index)
            into[element.offset, element.length] = element
