"""Whether the guest ran (`globalstate`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qmig.capture.run_state import BODY_LEN, SECTION_NAME, parse_run_state
from qmig.devices.tree import number

if TYPE_CHECKING:
    from qmig.devices.devices import Device

Facts = dict[str, Any]


def facts_of(device: Device) -> tuple[str, Facts] | None:
    """Return the run state; None for other devices."""
    if device.name != SECTION_NAME or device.length != BODY_LEN:
        return None
    state = parse_run_state(device.read())
    facts: Facts = {"run_state": state}
    for name in ("has_vm_was_suspended", "vm_was_suspended"):
        value = number(device.tree, name)
        if value is not None:
            facts[name] = bool(value)
    return f"the guest was {state or 'in no state that has a name'}", facts
