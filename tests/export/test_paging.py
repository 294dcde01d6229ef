"""How an x86 CPU translates addresses, by its control registers."""

import pytest

from qmig.export.page_tables import Paging, paging_of, root_addr_of

PG, PE = 1 << 31, 1
PAE, LA57 = 1 << 5, 1 << 12
LME, LMA = 1 << 8, 1 << 10
CR3 = 0x8765_4321_0FED_CBA9


@pytest.mark.parametrize(
    ("cr0", "cr4", "efer", "paging", "root_addr"),
    [
        (PG | PE, 0, 0, Paging.TWO_LEVEL, 0x0FED_C000),
        (PG | PE, PAE, 0, Paging.PAE, 0x0FED_CBA0),
        (PG | PE, PAE, None, Paging.PAE, 0x0FED_CBA0),
        (PG | PE, PAE, LME | LMA, Paging.FOUR_LEVEL, 0x5_4321_0FED_C000),
        (PG | PE, PAE | LA57, LME | LMA, Paging.FIVE_LEVEL, 0x5_4321_0FED_C000),
    ],
)
def test_control_registers_tell_the_paging(
    cr0: int, cr4: int, efer: int | None, paging: Paging, root_addr: int
) -> None:
    registers = {"cr0": cr0, "cr3": CR3, "cr4": cr4, "efer": efer}
    assert paging_of(registers) is paging
    assert root_addr_of(registers, paging) == root_addr


def test_cpu_without_paging_has_none() -> None:
    assert paging_of({"cr0": PE, "cr3": CR3, "cr4": PAE, "efer": 0}) is None
    assert paging_of({"pc": 0, "pstate": 0}) is None


@pytest.mark.parametrize("absent", ["cr0", "cr3", "cr4"])
def test_registers_that_are_not_known_tell_nothing(absent: str) -> None:
    registers = {"cr0": PG, "cr3": CR3, "cr4": PAE, "efer": LMA}
    assert paging_of(registers | {absent: None}) is None
