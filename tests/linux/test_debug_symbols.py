"""What debuggers find in the core of a real Linux guest with its kernel's debug symbols."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from tests.interop.printed_registers import registers_in, segments_in
from tests.linux.captured import BOOTS, read_list
from tests.linux.conftest import Core
from tests.linux.debuggers import LinuxSeen, crash, drgn, gdb
from tests.linux.guest import PROCESS, PROCESSES, SLEEPERS

pytestmark = pytest.mark.debug_symbols

_KERNEL_CODE: Final = 0x10  # the selector, __KERNEL_CS
_NAME_LEN: Final = 15  # of a task; /proc gives more of a kernel thread's
# Kernel threads that come and go, and what the guest's scripts start. A child that was forked has
# the name of its parent until it executes, and a busybox at first that of the link /proc/self/exe.
_PASSING: Final = re.compile(r"kworker/.*|sleep|head|exe|scribe|init")


def test_the_recording_is_whole(recording: Path) -> None:
    names = [capture.name for capture in read_list(recording)]
    assert sorted(names) == sorted(name for boot in BOOTS.values() for name in boot)


@pytest.fixture(scope="module")
def seen(core: Core, debug_kernel: Path) -> LinuxSeen:
    return drgn(core.path, debug_kernel, sorted(SLEEPERS))


def test_drgn_lists_the_processes_that_the_guest_listed(core: Core, seen: LinuxSeen) -> None:
    lines = re.findall(rf"^{PROCESS} (\d+) (\S+)\s*$", core.recorded.console, re.MULTILINE)
    told = {int(pid): name[:_NAME_LEN] for pid, name in lines}
    lasting = {pid: name for pid, name in told.items() if not _PASSING.fullmatch(name)}
    assert PROCESSES - {"scribe", "init"} < set(lasting.values())
    assert seen.tasks.items() >= lasting.items()
    assert seen.tasks[1] == "init"
    assert "scribe" in seen.tasks.values()
    others = {name for pid, name in seen.tasks.items() if pid not in lasting}
    assert [name for name in others if not _PASSING.fullmatch(name)] == []


def test_drgn_unwinds_the_stacks_of_sleeping_tasks(seen: LinuxSeen) -> None:
    assert set(seen.stacks) == SLEEPERS
    for frames in seen.stacks.values():
        functions = [frame.name for frame in frames]
        # They wait for the `sleep` that they started.
        assert "schedule" in functions
        assert "do_wait" in functions
        assert functions.index("schedule") < functions.index("do_wait")
        assert any(name.startswith("entry_SYSCALL_64") for name in functions)


def test_drgn_begins_at_the_registers_that_qemu_showed(core: Core, seen: LinuxSeen) -> None:
    said = core.recorded.registers
    wanted = [one["rip"] for one in registers_in(said)]
    assert [current.stack[0].pc for current in seen.current] == wanted
    for current, segments in zip(seen.current, segments_in(said), strict=True):
        in_kernel = segments["cs"][0] == _KERNEL_CODE
        assert (current.symbol is not None) == in_kernel
        assert current.name in {*seen.tasks.values()} | {"swapper/0", "swapper/1"}


def test_gdb_names_the_functions_that_drgn_names(
    core: Core, seen: LinuxSeen, debug_kernel: Path
) -> None:
    offset = re.search(rb"^KERNELOFFSET=([0-9a-f]+)$", core.path.read_bytes()[: 1 << 16], re.M)
    assert offset is not None
    symbols = f"add-symbol-file {debug_kernel} -o 0x{offset[1].decode()}"
    printed = gdb(core.path, symbols, "thread apply all -q info symbol $rip")
    named = re.findall(r"^(\w+)(?: \+ \d+)? in section", printed, re.MULTILINE)
    assert sorted(named) == sorted(one.symbol for one in seen.current if one.symbol is not None)


# It takes long to start, so only where the guest ran meanwhile and where RAM is in two ranges.
@pytest.mark.parametrize("recorded", ["pc-live", "q35-stopped"], indirect=True, scope="session")
def test_crash_says_of_the_core_what_it_says_of_qemus_dump(core: Core, debug_kernel: Path) -> None:
    ours = crash(core.path, debug_kernel)
    theirs = crash(core.recorded.dump, debug_kernel)
    assert "CPUS: 2\n" in ours
    assert "RELEASE: 6." in ours
    assert ours.replace(str(core.path), str(core.recorded.dump)) == theirs
