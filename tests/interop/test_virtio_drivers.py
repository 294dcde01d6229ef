"""What `qmig devices` says of virtio devices that the drivers of a real Linux guest use."""

from collections import Counter
from pathlib import Path

import pytest

import qmig
from fixtures.recorder.debian_guest import BootFiles
from qmig.devices import open_devices
from qmig.devices.facts import facts_of
from qmig.devices.virtio_names import DEVICES
from qmig.wire.virtio import VirtioStatus
from tests.conftest import FindQemu
from tests.interop.device_comparison import compare
from tests.interop.device_guests import recorded
from tests.interop.virtio_linux import agreed, boot_files, guest

_RING_PACKED = 34
_VERSION_1 = 32


@pytest.fixture(scope="module")
def boot(tmp_path_factory: pytest.TempPathFactory) -> BootFiles:
    """What the guest boots from."""
    return boot_files(tmp_path_factory.mktemp("boot"))


@pytest.mark.qemu
@pytest.mark.timeout(600)
@pytest.mark.parametrize("release", ["10.0", "11.1"])
def test_drivers_and_qemu_say_the_same(
    release: str, boot: BootFiles, find_qemu: FindQemu, tmp_path: Path
) -> None:
    for name in ("disk1.img", "disk2.img"):
        (tmp_path / name).write_bytes(bytes(1 << 20))
    linux = guest(boot, release, tells_status=release != "11.1")
    told, path = recorded(linux, find_qemu(release), tmp_path)
    drivers = Counter(agreed(tmp_path).values())
    with qmig.open_capture(path) as capture:
        devices = list(open_devices(capture))
        compare(devices, told, linux)
        known = [facts for device in devices for _, facts in [facts_of(device)]]
    virtio = [facts for facts in known if "guest_features" in facts]
    assert len(virtio) == len(told.virtio) == sum(drivers.values()) == 8
    status = {str(flag.name): int(flag) for flag in VirtioStatus}
    mine = Counter(
        (
            int(DEVICES[facts["device"].removeprefix("virtio-")][0]),
            sum(status[name] for name in facts["status"]),
            facts["guest_features"],
        )
        for facts in virtio
    )
    assert mine == drivers
    by_rings = Counter(
        (facts["guest_features"] >> _VERSION_1 & 1, facts["guest_features"] >> _RING_PACKED & 1)
        for facts in virtio
        if facts["device"] in ("virtio-blk", "virtio-net")
    )
    assert by_rings == {(1, 0): 2, (1, 1): 2, (0, 0): 1}
    for facts in virtio:
        packed = facts["guest_features"] >> _RING_PACKED & 1  # its index begins again at each round
        if facts["device"] in ("virtio-blk", "virtio-net") and not packed:
            # A disk has a queue for each CPU, of which one may have done all the work.
            assert any(queue["last_avail_idx"] for queue in facts["queues"])
