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
from qmig.checks.command_checks import CommandCheck
from qmig.checks.container_checks import ContainerCheck
from qmig.checks.device_checks import DeviceCheck
from qmig.checks.dirty_bitmap_checks import DirtyBitmapCheck
from qmig.checks.framing_checks import FramingCheck
from qmig.checks.mapped_ram_checks import MappedRamCheck
from qmig.checks.multifd_init_checks import ChannelSetCheck
from qmig.checks.multifd_packet_checks import DeviceStateCheck, PacketCheck
from qmig.checks.multifd_payload_checks import PayloadCheck
from qmig.checks.multifd_set_checks import SetCheck
from qmig.checks.name_checks import NameCheck
from qmig.checks.ram_checks import BlockListCheck, PageCheck, RamWordCheck
from qmig.checks.ram_order_checks import FlushWordCheck, PostcopyPagesCheck, XbzrleBaseCheck
from qmig.faults import Fault

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qmig.checks.check import Check
    from qmig.checks.rule import Rule


def _id_of(rule: Rule) -> str:
    return rule.id


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
    for rule in sorted(rules, key=_id_of)
}

CHECKS: Final[tuple[type[Check], ...]] = (
    FramingCheck,
    NameCheck,
    CommandCheck,
    BlockListCheck,
    RamWordCheck,
    PageCheck,
    XbzrleBaseCheck,
    FlushWordCheck,
    PostcopyPagesCheck,
    MappedRamCheck,
    DeviceCheck,
    DirtyBitmapCheck,
    ChannelSetCheck,
    PacketCheck,
    DeviceStateCheck,
    SetCheck,
    ContainerCheck,
    PayloadCheck,  # last: the others look back while payloads are still decompressed
)

_OF_FAULT: Final[Mapping[Fault, Rule]] = {
    fault: rule for rule in RULES.values() for fault in rule.faults
}


def rule_of_fault(fault: Fault) -> Rule:
    """Return the rule that a fault breaks; QM099 where no rule names it."""
    return _OF_FAULT.get(fault) or _OF_FAULT[Fault.OTHER]
