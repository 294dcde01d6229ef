"""The public API as a type checker sees it; this file is checked, and never run.

A line with a `type: ignore` must be an error: strict checking complains where it is none.
"""

from pathlib import Path
from typing import assert_type

import qmig
from qmig.capture.ram_view import Ram, RamBlockView
from qmig.errors import QmigError
from qmig.memory import BlockMemory, GuestMemory


def read(path: Path) -> bytes:
    """Read as the documentation does."""
    with qmig.open_capture(path, "channel", page_size_len=4096, offset=0) as capture:
        assert_type(capture, qmig.Capture)
        assert_type(capture.ram, Ram)
        assert_type(capture.ram["pc.ram"], RamBlockView)
        assert_type(capture.releases, tuple[str, ...])
        assert_type(capture.errors, list[qmig.StreamError])
        return assert_type(capture.ram["pc.ram"].read(0x100000, 4096, missing="zero"), bytes)


def judge(path: Path) -> str:
    """What is wrong is a list of findings, each of which has its place and its rule."""
    verdict = assert_type(qmig.validate(path, "channel", select=["QM1"]), qmig.Verdict)
    for finding in verdict.findings:
        assert_type(finding, qmig.Finding)
        return f"{finding.rule.id} {finding.offset + finding.length} {finding.message or ''}"
    return str(verdict.sound)


def ram_is_a_guest_memory(capture: qmig.Capture) -> GuestMemory:
    """A capture's RAM is what is saved, and its blocks are memories."""
    block: BlockMemory = capture.ram["pc.ram"]
    assert block.used_length
    return capture.ram


def what_is_raised(error: QmigError) -> str:
    """Every error of the package can be told apart."""
    if isinstance(error, qmig.TruncatedStreamError):
        assert_type(error.wanted_len, int)
    if isinstance(error, qmig.StreamError):
        assert_type(error.offset, int)
        return assert_type(error.expected, str)
    if isinstance(error, qmig.MissingPagesError):
        return assert_type(error.block, str)
    return str(error)


def what_is_wrong(capture: qmig.Capture) -> None:
    """Each of these is an error."""
    qmig.open_capture(1.5)  # type: ignore[arg-type]
    qmig.open_capture("vm.sav", page_size_len="4096")  # type: ignore[arg-type]
    capture.ram["pc.ram"].read("0", 1)  # type: ignore[arg-type]
    capture.ram["pc.ram"].read(0, 1, missing="skip")  # type: ignore[arg-type]
    capture.ram["pc.ram"].write(0, b"")  # type: ignore[attr-defined]
    qmig.StreamError(0, "record", "this", "that")  # type: ignore[call-arg]


def salvaged(path: Path) -> int:
    """What salvage found tells which pages are known."""
    done = assert_type(qmig.salvage(path, "channel", out="rest.sav", force=True), qmig.Salvage)
    assert_type(done.found.whole, bool)
    return sum(pages.known_pages for pages in done.found.maps)


def compared(path: Path) -> list[str]:
    """What differs is told by paths."""
    found = assert_type(qmig.compare(path, [path, "channel"], ignore=["timer"]), qmig.Comparison)
    return [field.path for section in found.sections for field in section.fields]


def taken_out(path: Path) -> int:
    """What was taken out tells its length and what is missing."""
    found = assert_type(qmig.extract([path, "channel"], "vm.raw", format="raw"), qmig.Extract)
    return found.length - sum(one.length for one in found.missing)
