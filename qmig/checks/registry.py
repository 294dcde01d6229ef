"""All rules by id, and all checks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qmig.checks import (
    rules_containers,
    rules_devices,
    rules_framing,
    rules_mapped_ram,
    rules_multifd,
    rules_ram,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qmig.checks.check import Check
    from qmig.checks.rule import Rule
    from qmig.faults import Fault

RULES: Final[Mapping[str, Rule]] = {
    rule.id: rule
    for rules in (
        rules_framing.RULES,
        rules_ram.RULES,
        rules_mapped_ram.RULES,
        rules_multifd.RULES,
        rules_devices.RULES,
        rules_containers.RULES,
    )
    for rule in rules
}

CHECKS: Final[tuple[type[Check], ...]] = ()


def rule_of_fault(fault: Fault) -> Rule | None:
    """Return the rule that a fault breaks."""
    return next((rule for rule in RULES.values() if fault in rule.faults), None)
