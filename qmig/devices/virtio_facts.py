"""A virtio device by names: what it is, what the guest has accepted, where its queues lie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from qmig.devices.pci_facts import config_facts, config_of
from qmig.devices.tree import Group, Node, number
from qmig.devices.virtio_names import DEVICES, device_of_pci, feature_names
from qmig.devices.virtio_state import QUEUES, TRANSPORT
from qmig.wire.virtio import VIRTIO_NO_VECTOR, VirtioStatus

if TYPE_CHECKING:
    from qmig.devices.devices import Device

Facts = dict[str, Any]

_RING_PACKED: Final = 34
_DESC_LEN: Final = 16
_DEFAULT_ALIGN: Final = 4096
_MOST_TELLING: Final = (
    *("FAILED", "NEEDS_RESET", "DRIVER_OK", "FEATURES_OK", "DRIVER", "ACKNOWLEDGE"),
)
_ENDIAN: Final = {1: "little", 2: "big"}


def virtio_of(node: Node) -> Group | None:
    """Return the first field of the type `virtio` below a node."""
    if not isinstance(node, Group):
        return None
    if node.kind == "virtio":
        return node
    return next((found for child in node.children if (found := virtio_of(child))), None)


def facts_of(device: Device) -> tuple[str, Facts] | None:
    """Return what a virtio device is; None for others."""
    state = virtio_of(device.tree)
    if state is None or number(state, "status") is None:
        return None
    transport = next((child for child in state.children if child.name == TRANSPORT), None)
    facts: Facts = {"transport": transport.kind if transport else None}
    space = config_of(state)
    pci: Facts = {}
    kind = next((name for name in DEVICES if device.name.endswith(f"/virtio-{name}")), None)
    if space is not None:
        _, pci = config_facts(device, space)
        kind = device_of_pci(pci["device_id"], pci["subsystem_id"]) or kind
    status = number(state, "status") or 0
    features = number(state, "virtio/64bit_features.guest_features")
    if features is None:
        features = number(state, "guest_features_lo") or 0
    features |= (number(state, "virtio/128bit_features.guest_features_ex") or 0) << 64
    facts |= {
        "device": f"virtio-{kind}" if kind else None,
        "status": [str(flag.name) for flag in VirtioStatus if status & flag],
        "isr": number(state, "isr"),
        "guest_features": features,
        "features": feature_names(kind, features),
        "config_vector": _vector(number(state, f"{TRANSPORT}.config_vector")),
        "started": _flag(state, "started"),
        "broken": bool(_flag(state, "broken")),
        "disabled": bool(_flag(state, "disabled")),
        "device_endian": _ENDIAN.get(number(state, "virtio/device_endian.value") or 0),
        "queues": _queues(state, features),
    }
    facts = {name: value for name, value in facts.items() if value is not None}
    if pci:
        facts["pci"] = pci
    ready = sum(bool(queue["desc_addr"]) for queue in facts["queues"])
    shown = next((name for name in _MOST_TELLING if name in facts["status"]), "reset")
    name = facts.get("device", "a virtio device")
    what = f"{name}, {shown}, {ready}/{len(facts['queues'])} queues set up"
    return what, facts


def _vector(number: int | None) -> int | None:
    return None if number == VIRTIO_NO_VECTOR else number


def _flag(state: Group, name: str) -> bool | None:
    value = number(state, f"virtio/{name}.value")
    return None if value is None else bool(value)


def _queues(state: Group, features: int) -> list[Facts]:
    """Return each queue that has entries.

    Where there is no virtio/virtqueues, a legacy driver's rings lie behind one another
    (virtio_queue_update_rings). The index of the used ring stands in guest memory, but for packed
    rings.
    """
    group = next((child for child in state.children if child.name == QUEUES), None)
    queues: list[Facts] = []
    for at in range(len(group.children) if isinstance(group, Group) else 0):
        path = f"{QUEUES}[{at}]"
        num, desc = number(state, f"{path}.num") or 0, number(state, f"{path}.desc") or 0
        align = number(state, f"{path}.align") or _DEFAULT_ALIGN
        avail = number(state, f"virtio/virtqueues.{path}.avail")
        used = number(state, f"virtio/virtqueues.{path}.used")
        if not avail and not used and desc and not features >> 32 & 1:
            avail = desc + num * _DESC_LEN
            used = -(-(avail + 4 + 2 * num) // align) * align
        queue: Facts = {
            "queue": at,
            "num": num,
            "desc_addr": desc,
            "avail_addr": avail or 0,
            "used_addr": used or 0,
            "last_avail_idx": number(state, f"{path}.last_avail_idx"),
        }
        vector = number(state, f"{path}.vector")
        if vector is not None:
            queue["vector"] = _vector(vector)
        if features >> _RING_PACKED & 1:
            packed = f"virtio/packed_virtqueues.{path}"
            queue["last_avail_idx"] = number(state, f"{packed}.last_avail_idx")
            queue["used_idx"] = number(state, f"{packed}.used_idx")
            queue["inuse"] = number(state, f"{packed}.inuse")
        enabled = number(state, f"virtio/extra_state.virtio_pci/modern_state.{path}.enabled")
        if enabled is None:
            enabled = number(state, f"virtio/extra_state.virtio_mmio/state.{path}.enabled")
        if enabled is not None:
            queue["enabled"] = bool(enabled)
        queues.append(queue)
    return queues
