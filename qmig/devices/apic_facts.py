"""The local APIC of an x86 CPU.

Fields: hw/intc/apic_common.c (vmstate_apic_common); bits: Intel SDM, volume 3, chapter 11.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from qmig.devices.tree import number, numbers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qmig.devices.devices import Device

Facts = dict[str, Any]

_ENTRIES: Final = ("timer", "thermal", "perform", "lint0", "lint1", "error")
_MODES: Final = ("fixed", "1", "SMI", "3", "NMI", "INIT", "6", "ExtINT")
_TIMER_MODES: Final = ("one-shot", "periodic", "TSC deadline", "3")
_BSP: Final = 1 << 8
_ENABLED: Final = 1 << 11
_X2APIC: Final = 1 << 10
_SOFTWARE_ENABLED: Final = 1 << 8
_MASKED: Final = 1 << 16


def facts_of(device: Device) -> tuple[str, Facts] | None:
    """Return the state of a local APIC; None for others."""
    tree = device.tree
    base, spurious = number(tree, "apicbase"), number(tree, "spurious_vec")
    if base is None or spurious is None:
        return None
    facts: Facts = {
        "id": number(tree, "id"),
        "base_addr": base & ~0xFFF,
        "enabled": bool(base & _ENABLED),
        "x2apic": bool(base & _X2APIC),
        "bootstrap": bool(base & _BSP),
        "software_enabled": bool(spurious & _SOFTWARE_ENABLED),
        "spurious_vector": spurious & 0xFF,
        "tpr": number(tree, "tpr"),
        "in_service": _vectors(numbers(tree, "isr")),
        "requested": _vectors(numbers(tree, "irr")),
        "level_triggered": _vectors(numbers(tree, "tmr")),
        "lvt": [
            _entry(name, word) for name, word in zip(_ENTRIES, numbers(tree, "lvt"), strict=False)
        ],
        "timer_initial_count": number(tree, "initial_count"),
    }
    state = "enabled" if facts["enabled"] and facts["software_enabled"] else "disabled"
    waiting = len(facts["requested"])
    what = f"local APIC {facts['id']}, {state}"
    return what + (f", {waiting} requested" if waiting else ""), facts


def _vectors(words: Sequence[int]) -> list[int]:
    return [32 * at + bit for at, word in enumerate(words) for bit in range(32) if word >> bit & 1]


def _entry(name: str, word: int) -> Facts:
    timer = name == "timer"
    mode = _TIMER_MODES[word >> 17 & 3] if timer else _MODES[word >> 8 & 7]
    return {"entry": name, "vector": word & 0xFF, "mode": mode, "masked": bool(word & _MASKED)}
