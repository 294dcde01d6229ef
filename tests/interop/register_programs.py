"""Programs that give each register another value, and then stay where they are for ever."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

PROGRAM: Final = "registers.bin"


@dataclass(frozen=True)
class Program:
    """A program.

    Attributes:
        code: its bytes, for the file PROGRAM.
        addr: where it lies in guest-physical memory.
        end_addr: the instruction at which it stays.
        arguments: of QEMU, which load and start it.
    """

    code: bytes
    addr: int
    end_addr: int
    arguments: tuple[str, ...]


def _loaded(addr: int) -> tuple[str, ...]:
    return ("-device", f"loader,file={PROGRAM},addr={addr:#x},force-raw=on")


def _words(addr: int, words: list[int]) -> tuple[bytes, int]:
    """Return instructions of four bytes, and where the last one lies."""
    return struct.pack(f"<{len(words)}I", *words), addr + 4 * (len(words) - 1)


def _aarch64() -> Program:
    """`movz xN, #(0x1200 + N)` for x0 to x30, `mov sp, x5`, `b .`."""
    addr = 0x40200000
    words = [0xD2800000 | (0x1200 + number) << 5 | number for number in range(31)]
    code, end = _words(addr, [*words, 0x9100001F | 5 << 5, 0x14000000])
    start = ("-device", f"loader,addr={addr:#x},cpu-num=0")
    return Program(code, addr, end, (*_loaded(addr), *start))


def _riscv64() -> Program:
    """`li xN, 0x120 + N` for x1 to x31, `j .`."""
    addr = 0x80000000
    words = [(0x120 + number) << 20 | number << 7 | 0x13 for number in range(1, 32)]
    code, end = _words(addr, [*words, 0x6F])
    return Program(code, addr, end, ("-bios", "none", *_loaded(addr)))


def _arm_m() -> Program:
    """Vectors with the stack and the start; `movs rN, #(0x10 + N)` for r0 to r7, `b .`."""
    start = 0x100
    vectors = struct.pack("<2I", 0x20001000, start | 1).ljust(start, b"\0")
    halves = [0x2000 | number << 8 | (0x10 + number) for number in range(8)]
    code = vectors + struct.pack("<9H", *halves, 0xE7FE)
    return Program(code, 0, start + 2 * len(halves), _loaded(0))


AARCH64: Final = _aarch64()
RISCV64: Final = _riscv64()
ARM_M: Final = _arm_m()
