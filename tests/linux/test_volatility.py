"""What Volatility finds in captures of a real Linux guest, with qmig and without."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

import pytest

from qmig.volatility.guest import GuestRequest, open_guest
from tests.interop.printed_registers import registers_in
from tests.linux.captured import read_list
from tests.linux.conftest import Recorded
from tests.linux.guest import PROCESSES
from tests.linux.volatility import Volatility, told_processes
from tests.volatility.stacked import Stacks, kinds

pytestmark = pytest.mark.debug_symbols

_DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "volatility.md"
_GDT: Final = re.compile(r"^GDT= +([0-9a-f]+) ", re.MULTILINE)
_KERNEL_CODE: Final = 0x10  # the selector, __KERNEL_CS
_CODE_64_BIT: Final = 0x00AF_9B00_0000_FFFF  # its descriptor: 64-bit code, ring 0, accessed


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for what Volatility keeps, also where it is imported."""
    folder = tmp_path_factory.mktemp("volatility-cache")
    os.environ["XDG_CACHE_HOME"] = str(folder)
    return folder


@pytest.fixture(scope="session")
def volatility(recording: Path, cache: Path) -> Volatility:
    return Volatility(recording, cache)


def test_banner_and_processes_are_found_by_qmig_alone(
    recorded: Recorded, volatility: Volatility
) -> None:
    told = told_processes(recorded.directory, recorded.capture)
    assert set(told.values()) == PROCESSES - {"init", "scribe"}
    by_qmig = volatility.look(recorded.capture, with_qmig=True)
    assert by_qmig.complaints == []
    alone = volatility.look(recorded.capture, with_qmig=False)
    row = volatility.row(recorded.capture, by_qmig, alone)
    assert (row.banner, row.processes) == ("at its address", "all that the guest listed")
    assert row.banner_alone in ("at wrong addresses", "not found")
    assert row.processes_alone == "none"
    assert row.text() in _DOCUMENT.read_text().splitlines()


def test_all_captures_are_in_the_table(recording: Path) -> None:
    rows = re.findall(r"^\| ([a-z0-9-]+) \| at its address ", _DOCUMENT.read_text(), re.MULTILINE)
    assert rows == [capture.name for capture in read_list(recording)]


def test_page_tables_are_those_of_a_cpu(recorded: Recorded, cache: Path) -> None:
    """Without symbols Volatility knows no Linux; then these tables are what it gets."""
    main, *channels = recorded.paths
    tables = open_guest(GuestRequest(tuple(map(str, recorded.paths)))).page_tables
    assert tables is not None
    said = registers_in(recorded.registers)[tables.cpu_index]
    assert tables.root_addr == said["cr3"] & ~0xFFF
    with Stacks() as stack:
        layers = stack(main, channels)
        assert kinds(layers) == ["Intel32e", "QmigLayer", "FileLayer"]
        assert layers[1].metadata["page_map_offset"] == tables.root_addr
        gdt_addr = int(_GDT.findall(recorded.registers)[tables.cpu_index], 16)
        found = int.from_bytes(layers[0].read(gdt_addr + _KERNEL_CODE, 8), "little")
    assert found == _CODE_64_BIT
