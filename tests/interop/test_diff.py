"""Two captures of a real guest that are one instruction apart differ in what this one changed."""

import re
from pathlib import Path
from typing import Final

import pytest

import qmig
from fixtures.recorder.machine import Machine
from qmig.comparison.model import Comparison, Outcome, PageState
from tests.conftest import FindQemu
from tests.interop.gdb_stub import ARGUMENTS, GdbStub
from tests.interop.printed_registers import registers_in

_PLAIN: Final = ("-nodefaults", "-display", "none", "-accel", "tcg", "-S", "-no-user-config")
_GENERAL: Final = ("eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi")
_FIELDS: Final = {
    **{name: f"cpu/0/env.regs[{at}]" for at, name in enumerate(_GENERAL)},
    "eip": "cpu/0/env.eip",
    "efl": "cpu/0/env.eflags",
}
_CLOCKS: Final = {"timer/0", "mc146818rtc/0"}
_STEPS: Final = 5
_INHIBIT_IRQ: Final = 8
_INHIBITED: Final = re.compile(r"\bII=(\d)")
_OTHERS: Final = re.compile(
    r"^(?:[C-S]S|LDT|TR|[GI]DT)\s*=.*|\b(?:CR|DR)\d=\w+|EFER=\w+", re.MULTILINE
)
_MAPPED: Final = "mapped-ram"


def save(machine: Machine, name: str, *, mapped: bool) -> None:
    """Have QEMU write its guest, which stands still, into a file."""
    if mapped:
        capabilities = [{"capability": _MAPPED, "state": True}]
        machine.execute("migrate-set-capabilities", {"capabilities": capabilities})
    uri = f"file:{name}" if mapped else f"exec:cat > {name}"
    machine.execute("migrate", {"uri": uri})
    machine.wait_migrated()
    if mapped:
        capabilities = [{"capability": _MAPPED, "state": False}]
        machine.execute("migrate-set-capabilities", {"capabilities": capabilities})


def fields_of(found: Comparison) -> dict[str, tuple[object, object]]:
    """Return the fields that differ, with both values."""
    return {one.path: (one.a, one.b) for section in found.sections for one in section.fields}


@pytest.mark.qemu
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("release", "board"), [("10.0", "pc"), ("10.0", "q35"), ("7.2", "pc"), ("11.1", "q35")]
)
def test_one_instruction_apart(
    release: str, board: str, find_qemu: FindQemu, tmp_path: Path
) -> None:
    arguments = (*_PLAIN, "-M", board, "-m", "16", *ARGUMENTS)
    told: list[dict[str, int]] = []
    printed: list[str] = []
    with Machine(find_qemu(release), arguments, tmp_path) as machine, GdbStub(tmp_path) as stub:
        stub.step()  # out of the reset vector by a far jump, which changes CS as well
        for at in range(_STEPS):
            told += registers_in(machine.monitor_line("info registers -a"))
            printed.append(machine.monitor_line("info registers"))
            save(machine, str(at), mapped=release != "7.2" and at % 2 == 1)
            stub.step()
    for at in range(_STEPS - 1):
        a, b = told[at : at + 2]
        before, after = (_OTHERS.findall(text) for text in printed[at : at + 2])
        assert len(before) > 10
        assert before == after, "segments and control registers stay as they are"
        expected = {_FIELDS[name]: (a[name], b[name]) for name in _FIELDS if a[name] != b[name]}
        assert _FIELDS["eip"] in expected

        found = qmig.compare(tmp_path / str(at), tmp_path / str(at + 1), ignore_clocks=True)
        assert found.outcome is Outcome.DIFFERENT
        fields = fields_of(found)
        inhibited = [int(_INHIBITED.findall(text)[0]) for text in printed[at : at + 2]]
        if inhibited[0] != inhibited[1]:  # behind a load of SS (HF_INHIBIT_IRQ_MASK)
            flags = fields.pop("cpu/0/env.hflags")
            assert [bool(int(str(value)) & _INHIBIT_IRQ) for value in flags] == inhibited
            assert int(str(flags[0])) ^ int(str(flags[1])) == _INHIBIT_IRQ
        assert fields == expected
        assert not found.only
        assert not found.configuration
        assert not any(block.differs or block.unknown_pages for block in found.blocks)
        assert sum(block.pages[PageState.EQUAL] for block in found.blocks) > 4096
        (cpu,) = (section for section in found.sections if section.fields)
        assert ("rip", a["eip"], b["eip"]) in cpu.facts

        everything = qmig.compare(tmp_path / str(at), tmp_path / str(at + 1))
        differing = {section.path for section in everything.sections if section.differs}
        assert {"cpu/0", "timer/0"} <= differing <= {"cpu/0", *_CLOCKS}
        assert qmig.compare(
            tmp_path / str(at), tmp_path / str(at + 1), ignore_clocks=True, ignore=["cpu/0"]
        ).equal


@pytest.mark.qemu
@pytest.mark.timeout(120)
def test_a_page_that_was_written_differs(find_qemu: FindQemu, tmp_path: Path) -> None:
    """A page that the debugger writes is the one that differs, at its address in its block."""
    arguments = (*_PLAIN, "-M", "pc", "-m", "16", *ARGUMENTS)
    with Machine(find_qemu("10.0"), arguments, tmp_path) as machine, GdbStub(tmp_path) as stub:
        stub.step()
        save(machine, "before", mapped=False)
        stub.write(0x234567, b"\xa5")
        stub.step()
        save(machine, "after", mapped=True)
        assert machine.save_physical(0x234567, 1) == b"\xa5"
    found = qmig.compare(tmp_path / "before", tmp_path / "after", ignore_clocks=True)
    (block,) = (block for block in found.blocks if block.differs)
    assert block.name == "pc.ram"
    assert block.ranges == [(PageState.DIFFERS, 0x234000, 4096)]
