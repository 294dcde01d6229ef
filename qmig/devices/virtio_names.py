"""Names of virtio devices and of their features (`qmig.wire.virtio_features`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qmig.wire import virtio_features as wire
from qmig.wire.virtio_features import VirtioId

if TYPE_CHECKING:
    from enum import IntEnum

# Name as QEMU has it in sections -> kind, features, the prefix of their names.
DEVICES: Final[dict[str, tuple[VirtioId, type[IntEnum] | None, str]]] = {
    "net": (VirtioId.NET, wire.VirtioNetFeature, "VIRTIO_NET_F_"),
    "blk": (VirtioId.BLK, wire.VirtioBlkFeature, "VIRTIO_BLK_F_"),
    "console": (VirtioId.CONSOLE, wire.VirtioConsoleFeature, "VIRTIO_CONSOLE_F_"),
    "rng": (VirtioId.RNG, None, ""),
    "balloon": (VirtioId.BALLOON, wire.VirtioBalloonFeature, "VIRTIO_BALLOON_F_"),
    "scsi": (VirtioId.SCSI, wire.VirtioScsiFeature, "VIRTIO_SCSI_F_"),
    "9p": (VirtioId.P9, wire.VirtioP9Feature, "VIRTIO_9P_"),
    "gpu": (VirtioId.GPU, wire.VirtioGpuFeature, "VIRTIO_GPU_F_"),
    "input": (VirtioId.INPUT, None, ""),
    "vsock": (VirtioId.VSOCK, wire.VirtioVsockFeature, "VIRTIO_VSOCK_F_"),
    "crypto": (VirtioId.CRYPTO, None, ""),
    "iommu": (VirtioId.IOMMU, wire.VirtioIommuFeature, "VIRTIO_IOMMU_F_"),
    "mem": (VirtioId.MEM, wire.VirtioMemFeature, "VIRTIO_MEM_F_"),
    "sound": (VirtioId.SOUND, None, ""),
    "fs": (VirtioId.FS, None, ""),
    "pmem": (VirtioId.PMEM, None, ""),
    "i2c": (VirtioId.I2C, wire.VirtioI2cFeature, "VIRTIO_I2C_F_"),
    "gpio": (VirtioId.GPIO, wire.VirtioGpioFeature, "VIRTIO_GPIO_F_"),
}
_BY_ID: Final[dict[int, str]] = {kind: name for name, (kind, _, _) in DEVICES.items()}
_FIRST_LEGACY: Final = 0x1000
_FIRST_MODERN: Final = 0x1040
_LAST: Final = 0x107F


def device_of_pci(device_id: int, subsystem_id: int) -> str | None:
    """Return the name of a virtio device by its PCI ids; None where it is unknown.

    A transitional device tells its kind in the subsystem id (virtio specification, 4.1.2).
    """
    if _FIRST_LEGACY <= device_id < _FIRST_MODERN:
        return _BY_ID.get(subsystem_id)
    if _FIRST_MODERN <= device_id <= _LAST:
        return _BY_ID.get(device_id - _FIRST_MODERN)
    return None


def feature_names(device: str | None, features: int) -> list[str]:
    """Return the names of the bits that are set; `bit N` where one has none."""
    names = {int(bit): f"VIRTIO_{bit.name}" for bit in wire.VirtioTransportFeature}
    _, own, prefix = DEVICES.get(device or "", (0, None, ""))
    names |= {int(bit): f"{prefix}{bit.name}" for bit in own or ()}
    return [
        names.get(bit, f"bit {bit}") for bit in range(features.bit_length()) if features >> bit & 1
    ]
