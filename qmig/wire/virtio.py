"""The field `virtio` of a device: all of a virtio device in one piece.

Big-endian, but the device's own configuration, which is as the guest sees it. Grammar::

    virtio      transport VirtioHead config_len bytes, be32 number of queues, { queue }*
                device_state { subsection }*
    transport   pci: be32 version of PCIDevice, configuration space, 16 bytes of interrupt state,
                     and with MSI-X: table, pending bits, be16 vector of the configuration
                mmio: VirtioMmioTransport
                ccw: fields of s390_subch_dev, its subsection s390_subch_dev/orb with VirtioCcwOrb,
                 3 VirtioCcwIndicator, VirtioCcwVector,
                 [subsection s390_adapter_info/summary_offset with be32], VirtioCcwTail
    queue       VirtioQueue; with MSI-X VirtioQueueVector; on mmio VirtioQueueAligned
    subsection  0x05, counted name, be32 version, and by name:
                virtio/device_endian        u8, 1 little, 2 big
                virtio/64bit_features       be64
                virtio/128bit_features      be64, since 10.2
                virtio/virtqueues           1,024 VirtioQueueRings
                virtio/ringsize             1,024 be32
                virtio/packed_virtqueues    1,024 VirtioPackedQueue
                virtio/broken, virtio/started, virtio/disabled   u8
                virtio/extra_state          nothing but a subsection:
                    virtio_pci/modern_state VirtioPciState, 1,024 VirtioPciQueue, and in it, since
                        10.2, [subsection virtio_pci/modern_state/features128: 2 be32]
                    virtio_mmio/state       VirtioMmioState, 1,024 VirtioMmioQueue

What lies between the queues and the first subsection is known to the device alone. Where a queue's
rings are modern ones, `virtio/virtqueues` has what follows from `desc` otherwise.

Sources: hw/virtio/virtio.c (virtio_save, vmstate_virtio), hw/virtio/virtio-pci.c
(virtio_pci_save_config, virtio_pci_save_queue, vmstate_virtio_pci), hw/virtio/virtio-mmio.c
(vmstate_virtio_mmio), hw/s390x/virtio-ccw.c (vmstate_virtio_ccw_dev), hw/s390x/css.c
(vmstate_subch_dev), 10.0; vmstate_virtio_128bit_features and
vmstate_virtio_pci_modern_state_features128, 10.2.
"""

from __future__ import annotations

from enum import IntFlag
from typing import Final

from construct import Array, Int8ub, Int16ub, Int32ub, Int64ub

from qmig.wire.record import WireRecord, wire

VIRTIO_QUEUE_MAX: Final = 1024
VIRTIO_NO_VECTOR: Final = 0xFFFF


class VirtioStatus(IntFlag):
    """Bits of `status`, from the virtio specification. Prefix in QEMU: VIRTIO_CONFIG_S_."""

    ACKNOWLEDGE = 0x01
    DRIVER = 0x02
    DRIVER_OK = 0x04
    FEATURES_OK = 0x08
    NEEDS_RESET = 0x40
    FAILED = 0x80


class VirtioMmioTransport(WireRecord):
    """What virtio-mmio writes in front."""

    host_features_sel: int = wire(Int32ub, "which 32 features the guest looks at")
    guest_features_sel: int = wire(Int32ub, "which 32 features the guest sets")
    guest_page_shift: int = wire(Int32ub, "legacy: a page of the guest has 1 << shift bytes")


SUBCHANNEL_ORB: Final = b"s390_subch_dev/orb"
SUMMARY_OFFSET: Final = b"s390_adapter_info/summary_offset"


class VirtioCcwOrb(WireRecord):
    """Body of s390_subch_dev/orb: the subchannel's last operation request."""

    intparm: int = wire(Int32ub, "interruption parameter")
    ctrl0: int = wire(Int16ub, "key and control bits")
    lpm: int = wire(Int8ub, "logical path mask")
    ctrl1: int = wire(Int8ub, "control bits")
    cpa: int = wire(Int32ub, "guest-physical address of the channel program")


class VirtioCcwIndicator(WireRecord):
    """Indicators of the queues, of the configuration, and the summary indicator."""

    len: int = wire(Int32ub, "bytes")
    addr: int = wire(Int64ub, "guest-physical address; 0: none")


class VirtioCcwVector(WireRecord):
    """Behind the indicators."""

    config_vector: int = wire(Int16ub, "indicator for changes of the configuration; ffff: none")
    ind_offset: int = wire(Int64ub, "offset of the indicators, bits")


class VirtioCcwSummary(WireRecord):
    """Body of s390_adapter_info/summary_offset."""

    summary_offset: int = wire(Int32ub, "offset of the summary indicator, bits")


class VirtioCcwTail(WireRecord):
    """The end of the transport."""

    thinint_isc: int = wire(Int8ub, "interruption subclass")
    revision: int = wire(Int32ub, "revision of virtio-ccw; ffffffff: none chosen")


class VirtioVersion(WireRecord):
    """What virtio-pci writes in front: the first field of PCIDevice."""

    version_id: int = wire(Int32ub, "version of PCIDevice, 2")


class VirtioVector(WireRecord):
    """Behind the MSI-X state."""

    config_vector: int = wire(Int16ub, "vector for changes of the configuration; ffff: none")


class VirtioHead(WireRecord):
    """Behind the transport; `config_len` bytes of configuration follow."""

    status: int = wire(Int8ub, "VirtioStatus")
    isr: int = wire(Int8ub, "1: a queue, 2: the configuration has an interrupt pending")
    queue_sel: int = wire(Int16ub, "queue that the guest looks at")
    guest_features_lo: int = wire(Int32ub, "bits 31 to 0 of what the guest has accepted")
    config_len: int = wire(Int32ub, "bytes of configuration")


class VirtioQueueCount(WireRecord):
    """Behind the configuration; as many queues follow."""

    queues: int = wire(Int32ub, "queues in front of the first one without entries, at most 1024")


class VirtioQueue(WireRecord):
    """One queue."""

    num: int = wire(Int32ub, "entries")
    desc: int = wire(Int64ub, "guest-physical address of the descriptors; 0: not set up")
    last_avail_idx: int = wire(Int16ub, "index of the next entry that the device will take")


class VirtioQueueVector(VirtioQueue):
    """One queue of a device with MSI-X."""

    vector: int = wire(Int16ub, "its vector; ffff: none")


class VirtioQueueAligned(WireRecord):
    """One queue on virtio-mmio."""

    num: int = wire(Int32ub, "entries")
    align: int = wire(Int32ub, "bytes that a legacy ring is aligned to")
    desc: int = wire(Int64ub, "guest-physical address of the descriptors; 0: not set up")
    last_avail_idx: int = wire(Int16ub, "index of the next entry that the device will take")


class VirtioQueueRings(WireRecord):
    """One queue of virtio/virtqueues."""

    avail: int = wire(Int64ub, "guest-physical address of the available ring")
    used: int = wire(Int64ub, "guest-physical address of the used ring")


class VirtioRingSize(WireRecord):
    """One queue of virtio/ringsize."""

    num_default: int = wire(Int32ub, "entries before the guest chose fewer")


class VirtioPackedQueue(WireRecord):
    """One queue of virtio/packed_virtqueues."""

    last_avail_idx: int = wire(Int16ub, "index of the next entry that the device will take")
    last_avail_wrap_counter: int = wire(Int8ub, "whether that is in an even round")
    used_idx: int = wire(Int16ub, "index of the next entry that the device will give back")
    used_wrap_counter: int = wire(Int8ub, "whether that is in an even round")
    inuse: int = wire(Int32ub, "entries taken and not yet given back")


class VirtioFlag(WireRecord):
    """virtio/broken, virtio/started, virtio/disabled, virtio/device_endian."""

    value: int = wire(Int8ub, "0 or 1; for device_endian 1 little, 2 big")


class VirtioFeatures(WireRecord):
    """virtio/64bit_features."""

    guest_features: int = wire(Int64ub, "bits 63 to 0 of what the guest has accepted")


class VirtioExtendedFeatures(WireRecord):
    """virtio/128bit_features."""

    guest_features_ex: int = wire(Int64ub, "bits 127 to 64 of what the guest has accepted")


class VirtioPciState(WireRecord):
    """virtio_pci/modern_state, in front of its queues."""

    dfselect: int = wire(Int32ub, "which 32 features the guest looks at")
    gfselect: int = wire(Int32ub, "which 32 features the guest sets")
    guest_features: list[int] = wire(Array(2, Int32ub), "what it has set, the low ones first")


class VirtioPciExtendedFeatures(WireRecord):
    """virtio_pci/modern_state/features128."""

    guest_features: list[int] = wire(
        Array(2, Int32ub), "bits 127 to 64 of what the guest has set, the low ones first"
    )


class VirtioPciQueue(WireRecord):
    """One queue of virtio_pci/modern_state: what the guest has written to the registers."""

    num: int = wire(Int16ub, "entries")
    unused: int = wire(Int8ub, "0")
    enabled: int = wire(Int8ub, "whether it is enabled")
    desc: list[int] = wire(Array(2, Int32ub), "address of the descriptors, low word first")
    avail: list[int] = wire(Array(2, Int32ub), "address of the available ring, low word first")
    used: list[int] = wire(Array(2, Int32ub), "address of the used ring, low word first")


class VirtioMmioState(WireRecord):
    """virtio_mmio/state, in front of its queues."""

    guest_features: list[int] = wire(Array(2, Int32ub), "what the guest has set, low word first")


class VirtioMmioQueue(WireRecord):
    """One queue of virtio_mmio/state: what the guest has written to the registers."""

    num: int = wire(Int16ub, "entries")
    enabled: int = wire(Int8ub, "whether it is enabled")
    desc: list[int] = wire(Array(2, Int32ub), "address of the descriptors, low word first")
    avail: list[int] = wire(Array(2, Int32ub), "address of the available ring, low word first")
    used: list[int] = wire(Array(2, Int32ub), "address of the used ring, low word first")
