"""What a comparison leaves out: fields, sections and blocks by patterns of their paths.

The clocks of a guest go on between two saves whatever else happens. Their fields, in 10.0:
system/cpu-timers.c (vmstate_timers), target/i386/machine.c (vmstate_x86_cpu), hw/intc/apic_common.c
(vmstate_apic_common), hw/timer/i8254_common.c, hw/timer/hpet.c, hw/i386/kvm/clock.c,
hw/rtc/mc146818rtc.c (vmstate_rtc), hw/acpi/piix4.c, hw/acpi/ich9.c and hw/isa/vt82c686.c
(overflow_time of the PM timer), hw/rtc/goldfish_rtc.c, hw/rtc/pl031.c, hw/ppc/ppc.c
(vmstate_ppc_timebase), hw/ppc/spapr_rtc.c, hw/s390x/tod.c; fields of the type `timer` hold the time
at which something is due.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from qmig.devices.kinds import TIMER

if TYPE_CHECKING:
    from collections.abc import Iterable

# What `*` and `?` stand for; all else is itself, for paths are full of brackets.
_WILD: Final = {"*": ".*", "?": "."}
_BELOW: Final = r"(?:[/.\[].*)?"

# Of the memory of a PC's clock: the registers that count, register C, the century.
_CMOS_CLOCK: Final = (0, 2, 4, 6, 7, 8, 9, 12, 50)

CLOCKS: Final = (
    "timer/*/cpu_ticks_offset",
    "timer/*/cpu_clock_offset",
    "timer/*/timer/icount",
    "cpu/*/env.tsc",
    "apic/*/initial_count_load_time",
    "apic/*/next_time",
    "apic/*/timer_expiry",
    "i8254/*/channels[*].count_load_time",
    "i8254/*/channels[*].next_transition_time",
    "*hpet/*/hpet_counter",
    "kvmclock/*/clock",
    *(f"mc146818rtc/*/cmos_data[{at}]" for at in _CMOS_CLOCK),
    "mc146818rtc/*/base_rtc",
    "mc146818rtc/*/last_update",
    "mc146818rtc/*/offset",
    "mc146818rtc/*/next_periodic_time",
    "mc146818rtc/*/next_alarm_time",
    "*.tmr.overflow_time",
    "goldfish_rtc/*/tick_offset*",
    "pl031/*/tick_offset_vmstate",
    "spapr/*/tb",
    "spapr/rtc/*/ns_offset",
    "todclock",
)
"""Fields that hold times, besides those of the type `timer`."""


class Ignored:
    """Tells which paths are to be left out.

    Args:
        patterns: of paths: `*` is any text, `?` any character; a pattern stands for what lies
            below the path, too.
        clocks: whether fields that hold times are left out.
    """

    def __init__(self, patterns: Iterable[str] = (), *, clocks: bool = False) -> None:
        given = [*patterns, *(CLOCKS if clocks else ())]
        self._clocks = clocks
        self._match = re.compile(
            "|".join(f"(?:{_regex(pattern)}){_BELOW}" for pattern in given) or r"(?!)", re.DOTALL
        )

    def path(self, path: str) -> bool:
        """Tell whether what has this path is left out."""
        return self._match.fullmatch(path) is not None

    def field(self, path: str, kind: str) -> bool:
        """Tell whether a field of this path and type is left out."""
        return (self._clocks and kind == TIMER) or self.path(path)


def _regex(pattern: str) -> str:
    return "".join(_WILD.get(char) or re.escape(char) for char in pattern)
