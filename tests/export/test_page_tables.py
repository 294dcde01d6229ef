"""The walk through page tables, on tables made by hand."""

from __future__ import annotations

import struct
from typing import Any, Final

import pytest

from qmig.export.page_tables import physical_addr_of

ADDR: Final = 0xFFFF_FFFF_8120_3456
PRESENT, LARGE = 1, 0x80
NO_EXECUTE: Final = 1 << 63
INDEX: Final = {level: ADDR >> (12 + 9 * level) & 511 for level in range(5)}
LONG_MODE: Final = {"cr0": 1 << 31, "cr3": 0x1000, "cr4": 0x20, "efer": 0x500}


class Tables:
    """Memory that holds only what was put into it."""

    def __init__(self) -> None:
        self.memory = bytearray(0x10000)

    def put(self, table: int, level: int, entry: int) -> None:
        struct.pack_into("<Q", self.memory, table + INDEX[level] * 8, entry)

    def read(self, addr: int, length: int) -> bytes:
        return bytes(self.memory[addr : addr + length])


def found(tables: Tables, **changed: int) -> int | None:
    state: dict[str, Any] = LONG_MODE | changed
    return physical_addr_of(ADDR, state, tables.read)


def test_pages_of_each_size() -> None:
    tables = Tables()
    tables.put(0x1000, 3, 0x2000 | PRESENT)
    tables.put(0x2000, 2, 0x3000 | PRESENT | NO_EXECUTE)
    tables.put(0x3000, 1, 0x4000 | PRESENT)
    tables.put(0x4000, 0, 0x7654_3000 | PRESENT | LARGE)  # there it is PAT, and no size
    assert found(tables) == 0x7654_3456
    tables.put(0x3000, 1, 0x7640_1000 | PRESENT | LARGE)  # bit 12 is PAT
    assert found(tables) == 0x7640_0000 | ADDR & 0x1F_FFFF
    tables.put(0x2000, 2, 0x4000_0000 | PRESENT | LARGE)
    assert found(tables) == 0x4000_0000 | ADDR & 0x3FFF_FFFF
    tables.put(0x5000, 4, 0x1000 | PRESENT)
    assert found(tables, cr3=0x5000, cr4=0x1020) == 0x4000_0000 | ADDR & 0x3FFF_FFFF


@pytest.mark.parametrize("changed", [{"cr0": 0}, {"efer": 0x100}, {"cr3": 0x9000}])
def test_no_such_tables(changed: dict[str, int]) -> None:
    tables = Tables()
    tables.put(0x1000, 3, 0x2000 | PRESENT)
    tables.put(0x2000, 2, 0x4000_0000 | PRESENT | LARGE)
    assert found(tables) is not None
    assert found(tables, **changed) is None


def test_entries_that_are_not_there() -> None:
    tables = Tables()
    tables.put(0x1000, 3, 0x2000)
    assert found(tables) is None
    tables.put(0x1000, 3, 0xFF_F000 | PRESENT)  # behind the memory
    assert found(tables) is None


def test_a_program_runs_with_the_root_beside_the_kernels() -> None:
    tables = Tables()
    tables.put(0x6000, 3, 0x2000 | PRESENT)
    tables.put(0x2000, 2, 0x4000_0000 | PRESENT | LARGE)
    assert found(tables, cr3=0x7000) == 0x4000_0000 | ADDR & 0x3FFF_FFFF
    assert found(tables, cr3=0x8000) is None
