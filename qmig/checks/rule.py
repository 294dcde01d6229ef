"""What a rule is: an id that stays, a severity, and what QEMU does with a stream that breaks it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from qmig.faults import Fault


UNKNOWN_SECTION: Final = (
    "Unknown savevm section or instance '{name}' {instance_id}. Make sure that your current VM "
    "setup matches your saved VM setup, including any hotplugged devices"
)
"""What a QEMU prints of a section of which it has no device."""


class Severity(StrEnum):
    """How bad it is; ordered by `RANK`."""

    ERROR = "error"  # a QEMU refuses the stream, or loads wrong data
    WARNING = "warning"  # it loads, but something is suspicious, or another reader breaks
    NOTE = "note"  # legal, and worth saying


class Outcome(StrEnum):
    """What a QEMU 10.0 does with a stream that breaks the rule."""

    REFUSES = "refuses"
    # It says what is wrong unless its main thread waits for the channel at that moment, and then
    # waits for ever, without a word.
    REFUSES_OR_HANGS = "refuses, or hangs"
    LOADS = "loads"
    LOADS_WRONG = "loads wrong data"
    HANGS = "hangs"
    CRASHES = "crashes"
    NOT_ASKED = "is not asked"  # libvirt or another reader judges this


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    Attributes:
        id: `QM` and three digits: 0xx framing, 1xx RAM, 2xx mapped-ram, 3xx multifd, 4xx devices
            and vmdescription, 5xx containers. An id is never given to another rule.
        title: what a conforming stream does, as a phrase behind "must": "end each section with a
            footer".
        severity: how bad it is to break it.
        explanation: why, and what to do, in a few sentences.
        source: where QEMU (or libvirt) says so: file, symbol, release.
        outcome: what QEMU 10.0 does.
        message: what QEMU 10.0 prints, as a format string over the values of a finding; None where
            it prints nothing of its own.
        faults: causes of a `StreamError` that break this rule.
        speaker: who prints the message.
    """

    id: str
    title: str
    severity: Severity
    explanation: str
    source: str
    outcome: Outcome
    message: str | None = None
    faults: frozenset[Fault] = field(default_factory=frozenset)
    speaker: str = "QEMU"
