"""Features of virtio devices: what each bit of `guest_features` says.

Sources: the virtio specification 1.2; names as include/standard-headers/linux/virtio_*.h has them
(10.0; the tunnel features of virtio-net: 10.2) and hw/virtio/virtio-qmp.c prints them;
VIRTIO_F_BAD_FEATURE: include/hw/virtio/virtio.h.
"""

from __future__ import annotations

from enum import IntEnum


class VirtioId(IntEnum):
    """Kinds of virtio devices; a PCI device of virtio 1.0 has 0x1040 more as its device_id.

    Prefix in QEMU: VIRTIO_ID_; there BLK is BLOCK, P9 is 9P, I2C is I2C_ADAPTER.
    """

    NET = 1
    BLK = 2
    CONSOLE = 3
    RNG = 4
    BALLOON = 5
    SCSI = 8
    P9 = 9
    GPU = 16
    INPUT = 18
    VSOCK = 19
    CRYPTO = 20
    IOMMU = 23
    MEM = 24
    SOUND = 25
    FS = 26
    PMEM = 27
    I2C = 34
    GPIO = 41


class VirtioTransportFeature(IntEnum):
    """Bits of every device. Prefix in QEMU: VIRTIO_."""

    F_NOTIFY_ON_EMPTY = 24
    F_ANY_LAYOUT = 27
    RING_F_INDIRECT_DESC = 28
    RING_F_EVENT_IDX = 29
    F_BAD_FEATURE = 30
    F_VERSION_1 = 32
    F_IOMMU_PLATFORM = 33
    F_RING_PACKED = 34
    F_IN_ORDER = 35
    F_ORDER_PLATFORM = 36
    F_SR_IOV = 37
    F_NOTIFICATION_DATA = 38
    F_NOTIF_CONFIG_DATA = 39
    F_RING_RESET = 40
    F_ADMIN_VQ = 41


class VirtioNetFeature(IntEnum):
    """Bits of virtio-net. Prefix in QEMU: VIRTIO_NET_F_."""

    CSUM = 0
    GUEST_CSUM = 1
    CTRL_GUEST_OFFLOADS = 2
    MTU = 3
    MAC = 5
    GSO = 6
    GUEST_TSO4 = 7
    GUEST_TSO6 = 8
    GUEST_ECN = 9
    GUEST_UFO = 10
    HOST_TSO4 = 11
    HOST_TSO6 = 12
    HOST_ECN = 13
    HOST_UFO = 14
    MRG_RXBUF = 15
    STATUS = 16
    CTRL_VQ = 17
    CTRL_RX = 18
    CTRL_VLAN = 19
    CTRL_RX_EXTRA = 20
    GUEST_ANNOUNCE = 21
    MQ = 22
    CTRL_MAC_ADDR = 23
    DEVICE_STATS = 50
    VQ_NOTF_COAL = 52
    NOTF_COAL = 53
    GUEST_USO4 = 54
    GUEST_USO6 = 55
    HOST_USO = 56
    HASH_REPORT = 57
    GUEST_HDRLEN = 59
    RSS = 60
    RSC_EXT = 61
    STANDBY = 62
    SPEED_DUPLEX = 63
    GUEST_UDP_TUNNEL_GSO = 65
    GUEST_UDP_TUNNEL_GSO_CSUM = 66
    HOST_UDP_TUNNEL_GSO = 67
    HOST_UDP_TUNNEL_GSO_CSUM = 68


class VirtioBlkFeature(IntEnum):
    """Bits of virtio-blk. Prefix in QEMU: VIRTIO_BLK_F_."""

    BARRIER = 0
    SIZE_MAX = 1
    SEG_MAX = 2
    GEOMETRY = 4
    RO = 5
    BLK_SIZE = 6
    SCSI = 7
    FLUSH = 9
    TOPOLOGY = 10
    CONFIG_WCE = 11
    MQ = 12
    DISCARD = 13
    WRITE_ZEROES = 14
    SECURE_ERASE = 16
    ZONED = 17


class VirtioConsoleFeature(IntEnum):
    """Bits of virtio-console. Prefix in QEMU: VIRTIO_CONSOLE_F_."""

    SIZE = 0
    MULTIPORT = 1
    EMERG_WRITE = 2


class VirtioScsiFeature(IntEnum):
    """Bits of virtio-scsi. Prefix in QEMU: VIRTIO_SCSI_F_."""

    INOUT = 0
    HOTPLUG = 1
    CHANGE = 2
    T10_PI = 3


class VirtioBalloonFeature(IntEnum):
    """Bits of virtio-balloon. Prefix in QEMU: VIRTIO_BALLOON_F_."""

    MUST_TELL_HOST = 0
    STATS_VQ = 1
    DEFLATE_ON_OOM = 2
    FREE_PAGE_HINT = 3
    PAGE_POISON = 4
    REPORTING = 5


class VirtioGpuFeature(IntEnum):
    """Bits of virtio-gpu. Prefix in QEMU: VIRTIO_GPU_F_."""

    VIRGL = 0
    EDID = 1
    RESOURCE_UUID = 2
    RESOURCE_BLOB = 3
    CONTEXT_INIT = 4


class VirtioVsockFeature(IntEnum):
    """Bits of virtio-vsock. Prefix in QEMU: VIRTIO_VSOCK_F_."""

    SEQPACKET = 1


class VirtioIommuFeature(IntEnum):
    """Bits of virtio-iommu. Prefix in QEMU: VIRTIO_IOMMU_F_."""

    INPUT_RANGE = 0
    DOMAIN_RANGE = 1
    MAP_UNMAP = 2
    BYPASS = 3
    PROBE = 4
    MMIO = 5
    BYPASS_CONFIG = 6


class VirtioMemFeature(IntEnum):
    """Bits of virtio-mem. Prefix in QEMU: VIRTIO_MEM_F_."""

    ACPI_PXM = 0
    UNPLUGGED_INACCESSIBLE = 1
    PERSISTENT_SUSPEND = 2


class VirtioP9Feature(IntEnum):
    """Bits of virtio-9p. Prefix in QEMU: VIRTIO_9P_."""

    MOUNT_TAG = 0


class VirtioI2cFeature(IntEnum):
    """Bits of virtio-i2c. Prefix in QEMU: VIRTIO_I2C_F_."""

    ZERO_LENGTH_REQUEST = 0


class VirtioGpioFeature(IntEnum):
    """Bits of virtio-gpio. Prefix in QEMU: VIRTIO_GPIO_F_."""

    IRQ = 0
