"""What the fields of a device mean: registers, addresses, times, under the names that people use.

Facts are a JSON object, in whose values integers, booleans, text, lists and objects stand; and one
line that says what the device is. Each module named here knows one kind of device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from qmig.devices import apic_facts, cpu_facts, pci_facts, run_state_facts, time_facts, virtio_facts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qmig.devices.devices import Device

Facts = dict[str, Any]

_KNOWN: Final[tuple[Callable[[Device], tuple[str, Facts] | None], ...]] = (
    virtio_facts.facts_of,
    pci_facts.facts_of,
    cpu_facts.facts_of,
    apic_facts.facts_of,
    time_facts.facts_of,
    run_state_facts.facts_of,
)


def facts_of(device: Device) -> tuple[str, Facts]:
    """Return what a device is, in one line, and what its fields mean.

    Both are empty where qmig knows no more than the names that the description has.
    """
    for known in _KNOWN:
        found = known(device)
        if found is not None:
            return found
    return "", {}


def flat_facts(facts: Facts) -> Iterator[tuple[str, object]]:
    """Yield each value with its name: `rip`, `queues[0].desc_addr`, `segments[cs].base`."""
    yield from _flat(facts, "")


def facts_at(device: Device, name: str) -> dict[str, object]:
    """Return what is known of a device under a name, and below it; empty where nothing is."""
    _, facts = facts_of(device)
    return {
        path: value
        for path, value in flat_facts(facts)
        if value is not None and (path == name or path.startswith((f"{name}.", f"{name}[")))
    }


def _flat(value: Any, path: str) -> Iterator[tuple[str, object]]:  # noqa: ANN401  # any JSON value
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _flat(item, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for at, item in enumerate(value):
            label = item.get("name", at) if isinstance(item, dict) else at
            yield from _flat(item, f"{path}[{label}]")
    else:
        yield path, value
