"""Which page tables are taken from the registers of CPUs."""

import pytest

from qmig.volatility.guest import Paging, paging_of

PG, PE = 1 << 31, 1
PAE, LA57 = 1 << 5, 1 << 12
LME, LMA = 1 << 8, 1 << 10


@pytest.mark.parametrize(
    ("cr0", "cr4", "efer", "paging"),
    [
        (PE, PAE, 0, None),
        (PG | PE, 0, 0, Paging.TWO_LEVEL),
        (PG | PE, PAE, 0, Paging.PAE),
        (PG | PE, PAE, LME | LMA, Paging.FOUR_LEVEL),
        (PG | PE, PAE | LA57, LME | LMA, None),
        (PG | PE, PAE, None, Paging.PAE),
    ],
)
def test_control_registers_tell_the_paging(
    cr0: int, cr4: int, efer: int | None, paging: Paging | None
) -> None:
    registers = {"cr0": cr0, "cr3": 0x1000, "cr4": cr4, "efer": efer}
    assert paging_of(registers) is paging


@pytest.mark.parametrize("absent", ["cr0", "cr3", "cr4"])
def test_registers_that_are_not_known_tell_nothing(absent: str) -> None:
    registers = {"cr0": PG, "cr3": 0x1000, "cr4": PAE, "efer": LMA}
    assert paging_of(registers | {absent: None}) is None
    assert paging_of({"pc": 0, "pstate": 0}) is None
