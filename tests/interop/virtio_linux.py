"""A Linux guest whose drivers keep virtio devices busy, and tell what they have agreed on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, NamedTuple

from fixtures.recorder.debian_guest import (
    BootFiles,
    CpioWriter,
    add_busybox,
    download,
    kernel_package_name,
    package_files,
)
from tests.interop.device_guests import CONSOLE, DeviceGuest

READY: Final = "GUEST READY"
# In the order in which they need each other.
_MODULES: Final = (
    *("virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci"),
    *("virtio_blk", "failover", "net_failover", "virtio_net", "virtio-rng"),
    *("virtio_console", "virtio_balloon"),
)
_TOLD: Final = re.compile(
    r"VIRTIO \S*/(?P<address>[0-9a-f:.]+)/virtio\d+ "
    r"(?P<kind>0x\w+) (?P<status>0x\w+) (?P<bits>[01]+)"
)
_INIT: Final = f"""\
#!/bin/busybox sh
# A guest that cannot begin ends, and with it its QEMU.
set -e
/bin/busybox mkdir -p /proc /sys /dev
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in /modules/*.ko; do insmod $module; done
until [ -e /dev/vdc ] && [ -e /sys/class/net/eth1 ]; do sleep 1; done
for at in 0 1; do
    ifconfig eth$at 10.0.$((at + 2)).15 netmask 255.255.255.0 up
    ping -c 3 10.0.$((at + 2)).2
done
for disk in a b c; do dd if=/dev/vd$disk of=/dev/null bs=4k; done
for device in /sys/bus/virtio/devices/*; do
    echo VIRTIO $(readlink -f $device) $(cat $device/device $device/status $device/features)
done
echo '{READY}'
while :; do
    for disk in a b c; do
        dd if=/dev/vd$disk of=/dev/null bs=4k iflag=direct 2>/dev/null
        dd if=/dev/zero of=/dev/vd$disk bs=4k count=64 oflag=direct 2>/dev/null
    done
    ping -c 1 10.0.2.2 >/dev/null
done
"""


class Agreed(NamedTuple):
    """What a driver told of its device.

    Attributes:
        kind: what the device is, by the virtio specification.
        status: its status.
        features: what both have accepted.
    """

    kind: int
    status: int
    features: int


def boot_files(directory: Path) -> BootFiles:
    """Lay out what the guest boots from.

    Raises:
        LookupError: a package does not hold what the guest needs.
        subprocess.CalledProcessError: apt or dpkg failed.
    """
    boot = BootFiles(kernel=directory / "vmlinuz", initramfs=directory / "initramfs.cpio")
    package = download(kernel_package_name(), directory)
    modules: dict[str, bytes] = {}
    kernel = None
    for name, content in package_files(package):
        if name.startswith("boot/vmlinuz-"):
            kernel = content.read()
        elif name.endswith(".ko") and Path(name).stem in _MODULES:
            modules[Path(name).stem] = content.read()
    lacking = set(_MODULES) - set(modules)
    if kernel is None or lacking:
        raise LookupError(f"{package}: no kernel, or not {sorted(lacking)}")
    boot.kernel.write_bytes(kernel)
    with boot.initramfs.open("wb") as out:
        archive = CpioWriter(out)
        archive.add_file("init", _INIT.encode(), executable=True)
        for at, name in enumerate(_MODULES):
            archive.add_file(f"modules/{at:02}-{name}.ko", modules[name])
        add_busybox(archive, directory)
        archive.finish()
    return boot


def guest(boot: BootFiles, qemu: str, *, tells_status: bool) -> DeviceGuest:
    """Return the machine: devices with split and packed rings, a legacy one, some behind a port."""
    return DeviceGuest(
        arguments=(
            *("-M", "q35", "-m", "256", "-smp", "2", "-serial", f"file:{CONSOLE}", "-no-reboot"),
            *("-kernel", str(boot.kernel), "-initrd", str(boot.initramfs)),
            *("-append", "console=ttyS0 panic=-1 quiet"),
            *("-device", "pcie-root-port,id=port0,chassis=1", "-device", "pcie-pci-bridge,id=b0"),
            *("-drive", "file=disk.img,format=raw,if=none,id=d0"),
            *("-device", "virtio-blk-pci,id=blk0,drive=d0,bus=port0"),
            *("-drive", "file=disk1.img,format=raw,if=none,id=d1"),
            *("-device", "virtio-blk-pci,id=blk1,drive=d1,packed=on"),
            *("-drive", "file=disk2.img,format=raw,if=none,id=d2"),
            *("-device", "virtio-blk-pci,id=blk2,drive=d2,disable-modern=on,bus=b0"),
            *("-netdev", "user,id=n0", "-device", "virtio-net-pci,id=net0,netdev=n0"),
            *("-netdev", "user,id=n1,net=10.0.3.0/24"),
            *("-device", "virtio-net-pci,id=net1,netdev=n1,packed=on,mq=on"),
            *("-device", "virtio-rng-pci,id=rng0", "-device", "virtio-balloon-pci,id=balloon0"),
            *("-device", "virtio-serial-pci,id=serial0"),
            *("-chardev", "null,id=c0", "-device", "virtconsole,chardev=c0"),
        ),
        qemu=qemu,
        says=READY,
        tells_status=tells_status,
    )


def agreed(directory: Path) -> dict[str, Agreed]:
    """Return what the guest's drivers told, by the device's address in the guest."""
    return {
        told["address"]: Agreed(
            int(told["kind"], 16),
            int(told["status"], 16),
            int(told["bits"][::-1], 2),  # bit 0 comes first
        )
        for told in _TOLD.finditer((directory / CONSOLE).read_text())
    }
