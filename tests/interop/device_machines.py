"""Machines and devices whose captures `qmig devices` is held against."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from tests.interop.device_guests import DeviceGuest
from tests.interop.register_programs import AARCH64, ARM_M, RISCV64
from tests.interop.software_tpm import ARGUMENTS as TPM

_DISK: Final = ("-drive", "file=disk.img,format=raw,if=none,id=d0")
_DISK1: Final = ("-drive", "driver=null-co,read-zeroes=on,if=none,id=d1")
_NET: Final = ("-netdev", "user,id=n0")
_BOOT: Final = (*_DISK, "-device", "virtio-blk-pci,id=blk0,drive=d0,bootindex=0")
_MEM: Final = ("-object", "memory-backend-ram,id=mem0,size=16M")
_AUDIO: Final = ("-audiodev", "none,id=a0")


def _disks(count: int) -> Iterator[str]:
    """Yield the drives d1, d2 and so on, which are empty."""
    for at in range(1, count + 1):
        yield from ("-drive", f"driver=null-co,read-zeroes=on,if=none,id=d{at}")


def _networks(count: int) -> Iterator[str]:
    """Yield the networks n0, n1 and so on."""
    for at in range(count):
        yield from ("-netdev", f"user,id=n{at}")


# A tree of PCI Express ports, with devices of most other kinds.
_Q35_SWITCH: Final = DeviceGuest(
    arguments=(
        *("-M", "q35", "-m", "64", *_BOOT, *_disks(1), *_networks(2)),
        *("-device", "virtio-scsi-pci,id=scsi0", "-device", "scsi-hd,drive=d1"),
        *("-device", "virtio-serial-pci,id=serial0", "-chardev", "null,id=c0"),
        *("-device", "virtconsole,chardev=c0", "-device", "virtserialport,name=p1"),
        *("-device", "qemu-xhci", "-device", "usb-tablet", "-device", "e1000e,netdev=n0"),
        *("-device", "vmxnet3,netdev=n1"),
        *("-device", "virtio-balloon-pci,id=balloon0", "-device", "vmgenid"),
        *("-device", "pcie-root-port,id=port0,chassis=1"),
        *("-device", "x3130-upstream,id=up,bus=port0"),
        *("-device", "xio3130-downstream,id=down,bus=up,chassis=2"),
        *("-device", "virtio-rng-pci,id=rng0,bus=down"),
    ),
    run_until="blk0",
)
# virtio devices of all kinds that can be migrated.
_Q35_VIRTIO: Final = DeviceGuest(
    arguments=(
        *("-M", "q35", "-m", "64,maxmem=1G,slots=4", *_BOOT, *_NET, *_MEM),
        *("-device", "virtio-iommu-pci,id=iommu0", "-device", "virtio-keyboard-pci,id=kbd0"),
        *("-device", "virtio-mouse-pci,id=mouse0", "-device", "virtio-tablet-pci,id=tablet0"),
        *("-device", "virtio-multitouch-pci,id=touch0", "-device", "virtio-vga,id=vga0"),
        *("-device", "virtio-gpu-pci,id=gpu0,max_outputs=2"),
        *("-device", "virtio-net-pci,id=net0,netdev=n0,mq=on,vectors=4,rss=on,hash=on"),
        *("-fsdev", "local,id=f0,path=.,security_model=none"),
        *("-device", "virtio-9p-pci,id=fs0,fsdev=f0,mount_tag=tag"),
        *("-device", "virtio-mem-pci,id=mem1,memdev=mem0,requested-size=16M"),
        *("-object", "memory-backend-ram,id=mem2,size=128M", "-device", "pc-dimm,memdev=mem2"),
    ),
    run_until="blk0",
)
GUESTS: Final = {
    "pc": DeviceGuest(
        arguments=(
            *("-M", "pc", "-m", "64", *_BOOT, *_NET, "-device", "virtio-net-pci,netdev=n0,id=net0"),
            *("-device", "virtio-rng-pci,id=rng0", "-device", "virtio-gpu-pci,id=gpu0"),
            *("-netdev", "user,id=n1", "-device", "e1000,netdev=n1", "-device", "VGA"),
        ),
        run_until="blk0",
    ),
    "pc-7.2": DeviceGuest(
        arguments=("-M", "pc", "-m", "64", *_BOOT, "-device", "virtio-balloon-pci,id=balloon0"),
        qemu="7.2",
        run_until="blk0",
    ),
    "pc-11.1": DeviceGuest(
        arguments=("-M", "pc", "-m", "64", *_BOOT, "-device", "virtio-balloon-pci,id=balloon0"),
        qemu="11.1",
        run_until="blk0",
        tells_status=False,
    ),
    "pc-floppy": DeviceGuest(
        arguments=(
            *("-M", "pc", "-m", "64", "-smp", "4", *_BOOT, "-device", "floppy"),
            *("-device", "piix3-usb-uhci", "-device", "usb-tablet"),
        ),
        run_until="blk0",
    ),
    "pc-legacy": DeviceGuest(
        arguments=(
            *("-M", "pc", "-m", "64", *_DISK),
            *("-device", "virtio-blk-pci,id=blk0,drive=d0,disable-modern=on"),
        ),
    ),
    "pc-virtio-mem": DeviceGuest(
        arguments=(
            *("-M", "pc", "-m", "64,maxmem=256M", *_BOOT, *_MEM),
            *("-device", "virtio-mem-pci,id=mem1,memdev=mem0,requested-size=0"),
        ),
        run_until="blk0",
    ),
    "q35": DeviceGuest(
        arguments=(
            *("-M", "q35", "-m", "64", *_BOOT, *_DISK1, "-device", "sdhci-pci"),
            *("-device", "pcie-root-port,id=port0,chassis=1"),
            *("-device", "qemu-xhci,bus=port0", "-device", "usb-kbd"),
            *("-device", "virtio-serial-pci,id=serial0", "-device", "igb"),
        ),
        run_until="blk0",
    ),
    "q35-nvme": DeviceGuest(  # 10.0 cannot migrate an NVMe controller
        arguments=(
            *("-M", "q35", "-m", "64", *_BOOT, *_DISK1, "-device", "nvme,serial=1,drive=d1"),
            *("-device", "virtio-rng-pci,id=rng0"),
        ),
        qemu="11.1",
        run_until="blk0",
        tells_status=False,
    ),
    "q35-ahci": DeviceGuest(
        arguments=(
            *("-M", "q35,kernel-irqchip=off", "-m", "64", *_BOOT, *_DISK1),
            *("-device", "ide-hd,drive=d1", "-device", "ich9-usb-ehci1"),
            *("-device", "virtio-keyboard-pci,id=kbd0", "-device", "intel-hda"),
        ),
        run_until="blk0",
    ),
    "q35-packed": DeviceGuest(
        arguments=(
            *("-M", "q35", "-m", "64", *_DISK, *_NET),
            *("-device", "virtio-blk-pci,id=blk0,drive=d0,packed=on"),
            *("-device", "virtio-net-pci,id=net0,netdev=n0,packed=on,mq=on"),
        ),
        run_until="blk0",
    ),
    "pc-bridges": DeviceGuest(
        arguments=(
            *("-M", "pc", "-m", "64", *_BOOT, *_NET, "-device", "pci-bridge,id=b0,chassis_nr=1"),
            *("-device", "pci-bridge,id=b1,chassis_nr=2,bus=b0", "-device", "cirrus-vga"),
            *("-device", "e1000,netdev=n0,bus=b1", "-device", "virtio-scsi-pci,id=scsi0,bus=b0"),
        ),
        run_until="blk0",
    ),
    "pc-storage": DeviceGuest(
        arguments=(
            *("-M", "pc", "-m", "64", *_BOOT, *_disks(7), "-device", "sdhci-pci"),
            *("-device", "megasas,id=s1", "-device", "scsi-hd,bus=s1.0,drive=d1"),
            *("-device", "lsi53c895a,id=s2", "-device", "scsi-hd,bus=s2.0,drive=d2"),
            *("-device", "mptsas1068,id=s3", "-device", "scsi-hd,bus=s3.0,drive=d3"),
            *("-device", "pvscsi,id=s4", "-device", "scsi-hd,bus=s4.0,drive=d4"),
            *("-device", "am53c974,id=s5", "-device", "scsi-hd,bus=s5.0,drive=d5"),
            *("-device", "usb-ehci,id=e0", "-device", "usb-storage,bus=e0.0,drive=d6"),
            *("-device", "ich9-ahci,id=a0", "-device", "ide-hd,bus=a0.0,drive=d7"),
        ),
        run_until="blk0",
    ),
    "pc-networks": DeviceGuest(
        arguments=(
            *("-M", "pc", "-m", "64", *_BOOT, *_networks(6), "-device", "rtl8139,netdev=n0"),
            *("-device", "pcnet,netdev=n1", "-device", "ne2k_pci,netdev=n2"),
            *("-device", "tulip,netdev=n3", "-device", "i82557b,netdev=n4"),
            *("-device", "vmxnet3,netdev=n5", "-device", "AC97,audiodev=a0", *_AUDIO),
            *("-device", "sb16,audiodev=a0", "-device", "i6300esb", "-device", "pvpanic-pci"),
        ),
        run_until="blk0",
    ),
    "pc-tpm": DeviceGuest(
        arguments=("-M", "pc", "-m", "64", *_BOOT, *TPM, "-device", "tpm-tis,tpmdev=tpm0"),
        run_until="blk0",
    ),
    "pc-icount": DeviceGuest(
        arguments=("-M", "pc", "-m", "64", *_BOOT, "-icount", "shift=auto"),
        run_until="blk0",
    ),
    "isapc": DeviceGuest(arguments=("-M", "isapc", "-m", "16", "-device", "ne2k_isa")),
    "q35-tpm": DeviceGuest(
        arguments=(
            *("-M", "q35", "-m", "64", *_BOOT, *TPM, "-device", "tpm-crb,tpmdev=tpm0"),
            *("-device", "usb-ehci", "-device", "usb-tablet"),
        ),
        run_until="blk0",
    ),
    "q35-switch": _Q35_SWITCH,
    "q35-switch-11.1": replace(_Q35_SWITCH, qemu="11.1", tells_status=False),
    "q35-virtio": _Q35_VIRTIO,
    "q35-virtio-11.1": replace(_Q35_VIRTIO, qemu="11.1", tells_status=False),
    "microvm": DeviceGuest(
        arguments=(
            *("-M", "microvm,rtc=on", "-m", "64", *_DISK, *_NET),
            *("-global", "virtio-mmio.force-legacy=off"),
            *("-device", "virtio-blk-device,id=blk0,drive=d0"),
            *("-device", "virtio-net-device,id=net0,netdev=n0"),
        ),
        run_until="blk0",
    ),
    "microvm-legacy": DeviceGuest(
        arguments=("-M", "microvm", "-m", "64", "-device", "virtio-rng-device,id=rng0"),
    ),
    "virt": DeviceGuest(
        arguments=(
            *("-M", "virt", "-cpu", "cortex-a57", "-m", "64", *_DISK, *_NET),
            *("-device", "virtio-blk-device,id=blk0,drive=d0"),
            *("-device", "virtio-net-pci,id=net0,netdev=n0,romfile="),
        ),
        target="aarch64",
        program=AARCH64,
    ),
    "virt-4": DeviceGuest(
        arguments=(
            *("-M", "virt,gic-version=3", "-cpu", "max", "-smp", "4", "-m", "128", *_DISK, *_NET),
            *("-device", "virtio-scsi-pci,id=scsi0", "-device", "virtio-gpu-pci,id=gpu0"),
            *("-device", "pcie-root-port,id=port0", "-device", "qemu-xhci", "-device", "usb-kbd"),
            *("-device", "virtio-blk-pci,id=blk0,drive=d0,bus=port0"),
            *("-device", "e1000,netdev=n0,romfile=", "-device", "ramfb"),
            *(*TPM, "-device", "tpm-tis-device,tpmdev=tpm0"),
        ),
        target="aarch64",
        program=AARCH64,
    ),
    "mps2": DeviceGuest(arguments=("-M", "mps2-an385"), target="arm", program=ARM_M),
    "malta": DeviceGuest(arguments=("-M", "malta", "-m", "64"), target="mips"),
    "riscv64": DeviceGuest(
        arguments=(
            *("-M", "virt,aia=aplic-imsic", "-smp", "4", "-m", "128", *_DISK),
            *("-device", "virtio-blk-device,id=blk0,drive=d0"),
        ),
        target="riscv64",
        program=RISCV64,
    ),
    "s390x": DeviceGuest(
        arguments=(
            *("-M", "s390-ccw-virtio", "-m", "64", "-no-shutdown", *_DISK, *_NET),
            *("-device", "virtio-blk-ccw,id=blk0,drive=d0,bootindex=0"),
            *("-device", "virtio-net-ccw,id=net0,netdev=n0", "-device", "virtio-rng-ccw,id=rng0"),
        ),
        target="s390x",
        run_until="blk0",
    ),
    "s390x-4": DeviceGuest(
        arguments=(
            *("-M", "s390-ccw-virtio", "-m", "64", "-smp", "4", "-no-shutdown", *_DISK),
            *("-device", "virtio-blk-ccw,id=blk0,drive=d0,bootindex=0"),
            *("-device", "virtio-gpu-ccw,id=gpu0", "-device", "virtio-scsi-ccw,id=scsi0"),
            *(
                "-device",
                "virtio-balloon-ccw,id=balloon0",
                "-device",
                "virtio-keyboard-ccw,id=kbd0",
            ),
            *("-device", "virtio-serial-ccw,id=serial0", "-device", "sclpconsole,chardev=c0"),
            *("-chardev", "null,id=c0", "-device", "diag288"),
        ),
        target="s390x",
        run_until="blk0",
    ),
    "pseries": DeviceGuest(
        arguments=(
            *("-M", "pseries", "-m", "256", *_BOOT, *_NET),
            *("-device", "spapr-vlan,netdev=n0", "-device", "spapr-vscsi"),
        ),
        target="ppc64",
        run_until="blk0",
    ),
    "pseries-4": DeviceGuest(
        arguments=(
            *("-M", "pseries", "-m", "256", "-smp", "4", *_BOOT, *_NET, "-device", "VGA"),
            *("-device", "e1000,netdev=n0", "-device", "virtio-scsi-pci,id=scsi0"),
            *("-device", "nec-usb-xhci", "-device", "usb-tablet"),
            *("-device", "virtio-balloon-pci,id=balloon0"),
        ),
        target="ppc64",
        run_until="blk0",
    ),
    "pseries-tpm": DeviceGuest(
        arguments=("-M", "pseries", "-m", "256", *TPM, "-device", "tpm-spapr,tpmdev=tpm0"),
        target="ppc64",
    ),
}
