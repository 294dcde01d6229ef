"""Damaged streams: whatever stands in a section or its description, an error at most."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qmig
from qmig.devices import open_devices
from qmig.devices.live_facts import LIVE_FACTS
from qmig.devices.tree import counted_len
from qmig.render.report_devices import Chosen, json_pieces
from qmig.render.text_devices import device_lines, table_lines
from tests.conftest import CaptureFiles
from tests.property.patience import soon

# One of each transport and of the parts that qmig takes apart.
NAMES = ("qemu-10.0-devices-pc", "qemu-10.0-devices-q35", "qemu-10.0-s390x-live")


def everything(path: Path) -> Iterator[str]:
    """Say all that there is to say of a file's devices, and check that every byte is told of."""
    with qmig.open_capture(path) as capture:
        devices = open_devices(capture)
        chosen = [Chosen(device) for device in devices]
        for device in devices:
            assert counted_len(device.tree) == device.tree.length == device.length
        yield from json_pieces(capture, devices, chosen, live=LIVE_FACTS)
        yield from table_lines(capture, devices, offsets=True)
        yield from device_lines(chosen, offsets=True)


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
@settings(max_examples=25)
def test_damage_is_an_error_at_most(
    name: str,
    data: st.DataObject,
    capture_files: CaptureFiles,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    whole = bytearray(capture_files(name)[0].read_bytes())
    with qmig.open_capture(capture_files(name)[0]) as capture:
        devices = list(open_devices(capture))
    first = devices[0].section_offset
    changes = st.tuples(st.integers(first, len(whole) - 1), st.integers(0, 255))
    for at, value in data.draw(st.lists(changes, min_size=1, max_size=60)):
        whole[at] = value
    path = tmp_path_factory.getbasetemp() / f"damaged-{name}"
    path.write_bytes(whole)
    with soon():
        try:
            for line in everything(path):
                assert line is not None
        except qmig.QmigError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
@settings(max_examples=15)
def test_noise_in_a_field_that_is_taken_apart(
    name: str,
    data: st.DataObject,
    capture_files: CaptureFiles,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """The description stands, the bytes of whole devices are others."""
    whole = bytearray(capture_files(name)[0].read_bytes())
    with qmig.open_capture(capture_files(name)[0]) as capture:
        for device in open_devices(capture):
            noise = data.draw(st.binary(min_size=1, max_size=64))
            at = data.draw(st.integers(0, max(0, device.length - 1)))
            length = min(len(noise), device.length - at)
            whole[device.offset + at : device.offset + at + length] = noise[:length]
    path = tmp_path_factory.getbasetemp() / f"noise-{name}"
    path.write_bytes(whole)
    with soon():
        try:
            for line in everything(path):
                assert line is not None
        except qmig.QmigError as error:
            assert "\n" not in str(error)
