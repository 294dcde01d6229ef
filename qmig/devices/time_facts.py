"""Clocks: the real-time clock of a PC, the TOD clock of s390x, the timer that others count from.

Fields: hw/rtc/mc146818rtc.c (vmstate_rtc), system/cpu-timers.c (vmstate_timers); the bytes that
the machine keeps in the clock's memory: hw/i386/pc.c (pc_cmos_init), hw/i386/microvm.c
(microvm_set_rtc). Other machines with such a clock leave them zero. The TOD clock has no
description, but s390_tod_save in hw/s390x/tod.c: a byte that says whether there is a value, and 9
bytes of it, of which the last 8 count 4096ths of a microsecond since 1900. All 10.0.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from qmig.devices.tree import Field, number

if TYPE_CHECKING:
    from qmig.devices.devices import Device

Facts = dict[str, Any]

_CMOS_LEN: Final = 128
_B: Final = 0x0B
_24H: Final = 0x02
_BINARY: Final = 0x04
_CENTURY: Final = 0x32
_PM: Final = 0x80
_KIB: Final = 1024
_NANOSECONDS: Final = 10**9
_TOD_LEN: Final = 10
_TOD_BEGIN: Final = datetime(1900, 1, 1, tzinfo=UTC)
_TOD_UNITS_PER_US: Final = 4096
_FORMAT: Final = "%Y-%m-%d %H:%M:%S"


def facts_of(device: Device) -> tuple[str, Facts] | None:
    """Return the times that a clock holds; None for others."""
    tree = device.tree
    cmos = tree.children[0] if tree.children else None
    if (
        isinstance(cmos, Field)
        and cmos.name == "cmos_data"
        and isinstance(cmos.value, bytes)
        and len(cmos.value) == _CMOS_LEN
    ):
        return _rtc(device, cmos.value)
    if device.name == "todclock" and device.length == _TOD_LEN:
        return _tod(device.read())
    ticks, clock = number(tree, "cpu_ticks_offset"), number(tree, "cpu_clock_offset")
    if ticks is not None and clock is not None:
        facts = {"cpu_ticks": ticks, "virtual_clock_ns": clock}
        return f"virtual clock at {clock / _NANOSECONDS:.3f} s", facts
    return None


def _tod(data: bytes) -> tuple[str, Facts]:
    if not data[0]:
        return "TOD clock without a value", {"present": False}
    low = int.from_bytes(data[2:], "big")
    time = (_TOD_BEGIN + timedelta(microseconds=low // _TOD_UNITS_PER_US)).strftime(_FORMAT)
    return f"TOD clock at {time}", {"present": True, "time": time, "high": data[1], "low": low}


def _rtc(device: Device, cmos: bytes) -> tuple[str, Facts]:
    tree = device.tree
    facts: Facts = {"time": _time(cmos)}
    base, updated = number(tree, "base_rtc"), number(tree, "last_update")
    if base is not None:
        facts["base_time"] = _iso(base)
    if updated is not None:
        facts["last_update_ns"] = updated
    if any(cmos[0x15:0x19]):
        facts |= {
            "memory_below_1m_len": (cmos[0x15] | cmos[0x16] << 8) * _KIB,
            "memory_1m_to_64m_len": (cmos[0x17] | cmos[0x18] << 8) * _KIB,
            "memory_16m_to_4g_len": (cmos[0x34] | cmos[0x35] << 8) * 64 * _KIB,
            "memory_above_4g_len": (cmos[0x5B] | cmos[0x5C] << 8 | cmos[0x5D] << 16) * 64 * _KIB,
        }
    facts["index"] = number(tree, "cmos_index")
    return f"RTC at {facts['time'] or 'no valid time'}", facts


def _time(cmos: bytes) -> str | None:
    """Return the time in the clock's registers; None where they hold none."""
    binary = bool(cmos[_B] & _BINARY)

    def value(byte: int) -> int:
        return byte if binary else (byte >> 4) * 10 + (byte & 15)

    hour = value(cmos[4] & ~_PM & 0xFF)
    if not cmos[_B] & _24H:
        hour = hour % 12 + (12 if cmos[4] & _PM else 0)
    try:
        return datetime(
            value(cmos[_CENTURY]) * 100 + value(cmos[9]),
            value(cmos[8]),
            value(cmos[7]),
            hour,
            value(cmos[2]),
            value(cmos[0]),
            tzinfo=UTC,
        ).strftime(_FORMAT)
    except ValueError:
        return None


def _iso(seconds: int) -> str | None:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime(_FORMAT)
    except (ValueError, OverflowError, OSError):
        return None
