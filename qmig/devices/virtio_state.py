"""The field `virtio` of a device, taken apart (`qmig.wire.virtio`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from qmig.devices.pci_config import capabilities, decode_config, decode_msix, msix_vectors
from qmig.devices.record_fields import add_array, add_record, add_struct
from qmig.devices.tree import ARRAY, DERIVED, STRUCT, SUBSECTION, Field, Group
from qmig.errors import StreamError
from qmig.limits import MAX_VIRTIO_STATE_LEN
from qmig.wire.framing import SubsectionHead
from qmig.wire.gate import read_record
from qmig.wire.pci import (
    PCI_CONFIG_SPACE_SIZE,
    PCI_DEVICE_VERSION,
    PCI_IRQ_STATE_LEN,
    PCIE_CONFIG_SPACE_SIZE,
    MsixEntry,
    PciCapability,
)
from qmig.wire.record import WireRecord, fixed_len
from qmig.wire.virtio import (
    SUBCHANNEL_ORB,
    SUMMARY_OFFSET,
    VIRTIO_QUEUE_MAX,
    VirtioCcwIndicator,
    VirtioCcwOrb,
    VirtioCcwSummary,
    VirtioCcwTail,
    VirtioCcwVector,
    VirtioExtendedFeatures,
    VirtioFeatures,
    VirtioFlag,
    VirtioHead,
    VirtioMmioQueue,
    VirtioMmioState,
    VirtioMmioTransport,
    VirtioPackedQueue,
    VirtioPciExtendedFeatures,
    VirtioPciQueue,
    VirtioPciState,
    VirtioQueue,
    VirtioQueueAligned,
    VirtioQueueCount,
    VirtioQueueRings,
    VirtioQueueVector,
    VirtioRingSize,
    VirtioVector,
    VirtioVersion,
)

if TYPE_CHECKING:
    from qmig.devices.body import Body


class _Layout(NamedTuple):
    """What a subsection holds: a record, an array of one for each queue, or both."""

    head: type[WireRecord] | None = None
    queue: type[WireRecord] | None = None


TRANSPORT: Final = "transport"
CONFIG: Final = "config"
DEVICE_STATE: Final = "device_state"
QUEUES: Final = "vq"
_PREFIX: Final = b"virtio/"
_MARK: Final = 5
_NAME_AT: Final = 2
_VERSION_LEN: Final = 4
_MAX_CONFIG_LEN: Final = 65536
_MAX_SUBCHANNEL_LEN: Final = 1024
_INDICATORS: Final = ("indicators", "indicators2", "summary_indicator")
_LAYOUTS: Final = {
    SUBCHANNEL_ORB: _Layout(VirtioCcwOrb),
    SUMMARY_OFFSET: _Layout(VirtioCcwSummary),
    b"virtio/device_endian": _Layout(VirtioFlag),
    b"virtio/64bit_features": _Layout(VirtioFeatures),
    b"virtio/128bit_features": _Layout(VirtioExtendedFeatures),
    b"virtio/virtqueues": _Layout(queue=VirtioQueueRings),
    b"virtio/ringsize": _Layout(queue=VirtioRingSize),
    b"virtio/packed_virtqueues": _Layout(queue=VirtioPackedQueue),
    b"virtio/broken": _Layout(VirtioFlag),
    b"virtio/started": _Layout(VirtioFlag),
    b"virtio/disabled": _Layout(VirtioFlag),
    b"virtio/extra_state": _Layout(),
    b"virtio_pci/modern_state": _Layout(VirtioPciState, VirtioPciQueue),
    b"virtio_pci/modern_state/features128": _Layout(VirtioPciExtendedFeatures),
    b"virtio_mmio/state": _Layout(VirtioMmioState, VirtioMmioQueue),
}
_NESTED_IN: Final = b"virtio/extra_state"
# Bytes of a whole subsection by its name, without what is nested in it.
_LENGTHS: Final = {
    name: _NAME_AT
    + len(name)
    + _VERSION_LEN
    + (fixed_len(layout.head) if layout.head else 0)
    + (fixed_len(layout.queue) * VIRTIO_QUEUE_MAX if layout.queue else 0)
    for name, layout in _LAYOUTS.items()
}
# What can stand in a subsection, behind its own fields.
_WITHIN: Final = {b"virtio_pci/modern_state": b"virtio_pci/modern_state/features128"}


def decode_virtio(body: Body, group: Group, size: int, path: str) -> None:
    """Decode a field of the type `virtio`.

    Which transport it is shows in the bytes. Where none fits, the field is left as it is.
    """
    start, end = body.offset, body.offset + size
    looked_into = size <= MAX_VIRTIO_STATE_LEN
    data = body.peek(size) if looked_into else b""
    for transport in (_pci, _ccw, _mmio) if looked_into else ():
        body.offset = start
        group.children.clear()
        group.form = DERIVED
        try:
            queue = transport(body, group, data, path)
            if queue is not None:
                _device(body, group, queue, end, path)
                if body.offset == end:
                    return
        except StreamError:
            continue
    body.offset = start
    group.children.clear()
    group.form = STRUCT
    group.children.append(Field("data", "buffer", start, size, body.blob(size, path)))


def _pci(body: Body, group: Group, data: bytes, path: str) -> type[WireRecord] | None:
    """Decode what virtio-pci writes in front; return its record of a queue."""
    at = fixed_len(VirtioVersion)
    config = data[at : at + PCI_CONFIG_SPACE_SIZE]
    if (
        len(config) < PCI_CONFIG_SPACE_SIZE
        or int.from_bytes(data[:at], "big") != PCI_DEVICE_VERSION
    ):
        return None
    express = any(number == PciCapability.EXP for _, number, _ in capabilities(config))
    vectors = msix_vectors(config)
    whole = Group(TRANSPORT, "pci", STRUCT, body.offset)
    group.children.append(whole)
    add_record(body, whole, VirtioVersion, path)
    space = Group(CONFIG, "pci config", DERIVED, body.offset)
    whole.children.append(space)
    space_len = PCIE_CONFIG_SPACE_SIZE if express else PCI_CONFIG_SPACE_SIZE
    body.need(space_len, path)
    decode_config(body, space, space_len, path)
    space.length = body.offset - space.offset
    irq_at = body.offset
    irq_state = body.blob(PCI_IRQ_STATE_LEN, path)
    whole.children.append(Field("irq_state", "buffer", irq_at, PCI_IRQ_STATE_LEN, irq_state))
    if vectors:
        msix = Group("msix", "msix state", DERIVED, body.offset)
        whole.children.append(msix)
        msix_len = vectors * fixed_len(MsixEntry) + (vectors + 7) // 8
        body.need(msix_len, path)
        decode_msix(body, msix, msix_len, path)
        msix.length = body.offset - msix.offset
        add_record(body, whole, VirtioVector, path)
    whole.length = body.offset - whole.offset
    return VirtioQueueVector if vectors else VirtioQueue


def _mmio(body: Body, group: Group, data: bytes, path: str) -> type[WireRecord] | None:
    if not _head_fits(data, fixed_len(VirtioMmioTransport)):
        return None
    whole = Group(TRANSPORT, "mmio", STRUCT, body.offset)
    group.children.append(whole)
    add_record(body, whole, VirtioMmioTransport, path)
    whole.length = body.offset - whole.offset
    return VirtioQueueAligned


def _ccw(body: Body, group: Group, data: bytes, path: str) -> type[WireRecord] | None:
    """Decode what virtio-ccw writes in front: its subchannel has one length up to a subsection."""
    start = body.offset
    at = data.find(_marked(SUBCHANNEL_ORB), 0, _MAX_SUBCHANNEL_LEN)
    if at < 0:
        return None
    whole = Group(TRANSPORT, "ccw", STRUCT, start)
    group.children.append(whole)
    whole.children.append(Field("subchannel", "buffer", start, at, body.blob(at, path)))
    _subsection(body, whole, path)
    for name in _INDICATORS:
        add_struct(body, whole, name, VirtioCcwIndicator, path)
    add_record(body, whole, VirtioCcwVector, path)
    if _is_next(body, SUMMARY_OFFSET):
        _subsection(body, whole, path)
    add_record(body, whole, VirtioCcwTail, path)
    whole.length = body.offset - start
    return VirtioQueueVector


def _head_fits(data: bytes, at: int) -> bool:
    """Tell whether a VirtioHead can lie at a place: few queues, each with a power of two."""
    at += fixed_len(VirtioHead)
    config_len = int.from_bytes(data[at - 4 : at], "big")
    if config_len > min(_MAX_CONFIG_LEN, len(data)):
        return False
    at += config_len
    queues = int.from_bytes(data[at : at + 4], "big")
    num = int.from_bytes(data[at + 4 : at + 8], "big")
    return 0 < queues <= VIRTIO_QUEUE_MAX and num.bit_count() == 1


def _device(body: Body, group: Group, queue: type[WireRecord], end: int, path: str) -> None:
    """Decode what stands behind the transport.

    Raises:
        StreamError: the bytes are not those of a virtio device.
    """
    head = add_record(body, group, VirtioHead, path)
    at, length = body.offset, head.config_len
    body.need(length, path)
    group.children.append(Field(CONFIG, "buffer", at, length, body.blob(length, path)))
    start = body.offset
    count = add_record(body, group, VirtioQueueCount, path)
    if count.queues > VIRTIO_QUEUE_MAX:
        raise body.wrong(
            start, path, expected=f"at most {VIRTIO_QUEUE_MAX} queues", found=str(count.queues)
        )
    body.need(count.queues * fixed_len(queue), path)
    queues = Group(QUEUES, queue.__name__, ARRAY, body.offset)
    group.children.append(queues)
    for number in range(count.queues):
        add_struct(body, queues, f"[{number}]", queue, path)
    queues.length = body.offset - queues.offset
    _rest(body, group, end, path)


def _rest(body: Body, group: Group, end: int, path: str) -> None:
    """Decode the device's own state and the subsections behind it.

    The first place from which subsections reach to the end is where they begin.
    """
    start = body.offset
    at = subsections_at(body.peek(end - start))
    _own(body, group, start, at, path)
    while body.offset < end:
        _subsection(body, group, path)


def subsections_at(data: bytes) -> int:
    """Return where the subsections at the end of a device's state begin; its length without any."""
    found = -1
    while (found := data.find(_PREFIX, found + 1)) >= 0:
        at = found - _NAME_AT
        if at >= 0 and _reaches_end(data, at):
            return at
    return len(data)


def _reaches_end(data: bytes, at: int) -> bool:
    """Tell whether subsections, each of its own name, go from a place to the end."""
    names: set[bytes] = set()
    last = b""
    while at + 1 < len(data):
        name = data[at + _NAME_AT : at + _NAME_AT + data[at + 1]]
        length = _LENGTHS.get(name)
        if data[at] != _MARK or length is None or name in names:
            return False
        names.add(name)
        last = name
        at += length
    return at == len(data) and last != _NESTED_IN


def _own(body: Body, group: Group, start: int, length: int, path: str) -> None:
    body.offset = start
    group.children.append(Field(DEVICE_STATE, "buffer", start, length, body.blob(length, path)))


def _marked(name: bytes) -> bytes:
    return bytes([_MARK, len(name)]) + name


def _is_next(body: Body, name: bytes) -> bool:
    """Tell whether the subsection of a name stands next."""
    return body.peek(len(_marked(name))) == _marked(name)


def _subsection(body: Body, group: Group, path: str) -> None:
    start = body.offset
    head = read_record(body, SubsectionHead, what=path)
    layout = _LAYOUTS.get(head.name)
    if layout is None:
        raise body.wrong(
            start, path, expected="a subsection of virtio", found=repr(head.name.decode("latin-1"))
        )
    name = head.name.decode()
    sub = Group(name, name, SUBSECTION, start, version=head.version_id)
    sub.marks_len = body.offset - start
    group.children.append(sub)
    if layout.head is not None:
        add_record(body, sub, layout.head, path)
    if layout.queue is not None:
        add_array(body, sub, QUEUES, layout.queue, VIRTIO_QUEUE_MAX, path)
    within = _WITHIN.get(head.name)
    if head.name == _NESTED_IN or (within is not None and _is_next(body, within)):
        _subsection(body, sub, path)
    sub.length = body.offset - start
