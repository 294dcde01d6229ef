"""What QEMU's `info registers -a` prints, as numbers."""

from __future__ import annotations

import re
from typing import Final

_REGISTER: Final = re.compile(r"\b([A-Za-z][A-Za-z0-9]*) *=([0-9a-f]{8,16})\b")
_SEGMENT: Final = re.compile(
    r"^([ECSDFG]S|LDT|TR) *=([0-9a-f]{4}) ([0-9a-f]+) ([0-9a-f]{8}) ([0-9a-f]{8})", re.MULTILINE
)
_POWER_ROW: Final = re.compile(r"^GPR(\d+)((?: [0-9a-f]{16})+)", re.MULTILINE)
_POWER: Final = re.compile(r"\b(NIP|LR|CTR|MSR) +([0-9a-f]{8,16})\b")
_S390_PSW: Final = re.compile(r"^PSW=(mask) ([0-9a-f]{16}) (addr) ([0-9a-f]{16})", re.MULTILINE)
_RISCV: Final = re.compile(r"\b(x\d+|pc)(?:/\w+)? +([0-9a-f]{16})\b")
_NUMBERED: Final = re.compile(r"([xrc])(\d+)")


def registers_in(printed: str) -> list[dict[str, int]]:
    """Return all CPUs' registers, whose names are spelt as `qmig devices` does."""
    found = []
    for text in _by_cpu(printed):
        values = {name.lower(): int(value, 16) for name, value in _REGISTER.findall(text)}
        others = [*_POWER.findall(text), *_RISCV.findall(text)]
        values |= {name.lower(): int(value, 16) for name, value in others}
        for words in _S390_PSW.findall(text):
            pairs = zip(words[::2], words[1::2], strict=True)
            values |= {f"psw_{name}": int(value, 16) for name, value in pairs}
        for row, values_of_row in _POWER_ROW.findall(text):
            for at, value in enumerate(values_of_row.split()):
                values[f"r{int(row) + at}"] = int(value, 16)
        found.append({_spelt(name): value for name, value in values.items()})
    return found


def segments_in(printed: str) -> list[dict[str, tuple[int, ...]]]:
    """Return by CPU and name a segment's selector, base, limit and flags (x86)."""
    return [
        {
            name.lower(): tuple(int(word, 16) for word in words)
            for name, *words in _SEGMENT.findall(text)
        }
        for text in _by_cpu(printed)
    ]


def _by_cpu(printed: str) -> list[str]:
    parts = re.split(r"^CPU#\d+\s*$", printed, flags=re.MULTILINE)
    return parts[1:] or parts


def _spelt(name: str) -> str:
    """Return `x1` for `x01`, `r1` for `r01`, `cr1` for `c01`."""
    match = _NUMBERED.fullmatch(name)
    return f"{match[1].replace('c', 'cr')}{int(match[2])}" if match else name
