"""What `qmig devices` says of a guest is what the QEMU that wrote the stream said of it."""

from pathlib import Path

import pytest

import qmig
from qmig.devices import open_devices
from tests.conftest import FindQemu
from tests.interop.device_comparison import compare
from tests.interop.device_guests import recorded
from tests.interop.device_machines import GUESTS


@pytest.mark.qemu
@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", GUESTS)
def test_devices_are_what_qemu_says(name: str, find_qemu: FindQemu, tmp_path: Path) -> None:
    guest = GUESTS[name]
    told, path = recorded(guest, find_qemu(guest.qemu, guest.target), tmp_path)
    with qmig.open_capture(path) as capture:
        compare(list(open_devices(capture)), told, guest)
