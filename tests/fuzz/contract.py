"""The contract with any input: accepted, or a documented exception, and nothing else happens.

Entry points are what a user calls: what `qmig inspect` shows (as text, JSON and lines of records),
reading RAM of a damaged capture, `qmig validate`, `qmig salvage`, `qmig extract`, `qmig diff`, the
fields of devices.
"""

import os
import shutil
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

from qmig.capture.capture import Capture, open_capture
from qmig.capture.rescue import rescue
from qmig.capture.rescue_result import Rescue
from qmig.checks.validate import validate
from qmig.comparison.compare import compare
from qmig.comparison.model import Outcome
from qmig.devices.devices import open_devices
from qmig.devices.tree import Group, Node
from qmig.errors import QmigError
from qmig.export.extract import MANIFEST_SUFFIX, ExtractFormat, ExtractOptions, extract
from qmig.migrate.counters import Counters
from qmig.render.document import Document
from qmig.render.jsonlines import RecordLines
from qmig.render.jsonout import json_text
from qmig.render.report import build_report
from qmig.render.report_diff import build_diff_report
from qmig.render.report_extract import build_extract_report
from qmig.render.report_salvage import build_salvage_report, map_lines
from qmig.render.report_validate import build_validate_report
from qmig.render.text import text_lines
from qmig.render.text_diff import diff_text_lines
from qmig.render.text_extract import extract_text_lines
from qmig.render.text_salvage import salvage_text_lines
from qmig.render.text_validate import validate_text_lines
from qmig.salvaging import kept_elements, write_salvaged
from tests.fuzz.gapped import Files, write_files
from tests.fuzz.guard import ContractBrokenError, lowest_free_file, writing_only_into

ACCEPTED: Final = "accepted"
_READ_LEN: Final = 64 * 1024
_MOST_LINES: Final = 20_000
_WRITING: Final = ("salvage", "extract")
_MOST_HASHED_LEN: Final = 64 << 20
_MOST_LEN: Final = 1 << 40
_EXTRACTS: Final = (
    (ExtractFormat.BLOCKS, True),
    (ExtractFormat.RAW, False),
    (ExtractFormat.LIME, True),
    (ExtractFormat.ELF, True),
)


def _check_text(text: str) -> None:
    if not text.isprintable() or not text:
        raise ContractBrokenError(f"an error that is not one printable line: {text!r}")


def _ignore(*_: object) -> None:
    """Take progress and do nothing with it."""


def _show(lines: Sequence[str]) -> None:
    for line in lines:
        if not line.replace("\t", "").isprintable():
            raise ContractBrokenError(f"a line for a terminal that is not printable: {line!r}")


def inspect(paths: Sequence[Path], out: Path) -> None:
    """Ask for all that `qmig inspect` shows."""
    with open_capture(*paths) as capture:
        report = build_report(capture)
        json_text(report)
        _show(list(text_lines(report)))
        for error in capture.errors:
            _check_text(str(error))


def lines(paths: Sequence[Path], out: Path) -> None:
    """Ask for the records one by one (`qmig inspect --json-lines`)."""
    with open_capture(*paths) as capture:
        found = RecordLines(capture, _ignore)
        for _ in islice(found, _MOST_LINES):
            pass
        for error in found.errors:
            _check_text(str(error))


def ram(paths: Sequence[Path], out: Path) -> None:
    """Read RAM at the borders of each block, as far as it is there."""
    with open_capture(*paths) as capture:
        _read_ram(capture)


def _read_ram(capture: Capture) -> None:
    for view in capture.partial_ram.values():
        length = view.used_length
        for addr in {0, length // 2 & ~0xFFF, max(0, length - _READ_LEN)}:
            try:
                view.read(addr, min(_READ_LEN, length - addr), missing="zero")
                view.read(addr, min(_READ_LEN, length - addr))
            except QmigError as error:
                _check_text(str(error))


def judged(paths: Sequence[Path], out: Path) -> None:
    """Ask what `qmig validate` finds."""
    verdict = validate(*paths)
    report = build_validate_report(verdict, [str(path) for path in paths])
    json_text(report)
    _show(list(validate_text_lines(report)))
    for error in verdict.unjudged:
        _check_text(str(error))


def salvaged(paths: Sequence[Path], out: Path) -> None:
    """Write what `qmig salvage` writes, and read that again."""
    target = out / "salvaged"
    try:
        with rescue(*paths) as found:
            report = _salvage(found, paths, target)
        json_text(report)
        _show(list(salvage_text_lines(report)))
        with open_capture(target) as capture:
            if capture.errors:
                raise ContractBrokenError(f"salvage wrote what is damaged: {capture.errors[0]}")
    finally:
        target.unlink(missing_ok=True)


def _salvage(found: Rescue, paths: Sequence[Path], target: Path) -> Document:
    counters = Counters()
    write_salvaged(found, target, counters=counters, force=True)
    for _ in islice(map_lines(found), _MOST_LINES):
        pass
    kept = [element for element, _ in kept_elements(found)]
    return build_salvage_report(found, kept, [str(p) for p in paths], str(target), counters)


def devices(paths: Sequence[Path], out: Path) -> None:
    """Look at every field of every device."""
    with open_capture(*paths) as capture:
        for device in open_devices(capture):
            _walk_tree(device.tree)
            if device.error is not None:
                _check_text(str(device.error))
            device.forget()


def _walk_tree(node: Node) -> None:
    waiting: list[Node] = [node]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Group):
            waiting.extend(one.children)


def extracted(paths: Sequence[Path], out: Path) -> None:
    """Write what `qmig extract` writes in its formats, with holes and without."""
    refusals: list[QmigError] = []
    for kind, holes in _EXTRACTS:
        target = out / "extract"
        try:
            with open_capture(*paths) as capture:
                total = sum(block.used_length for block in capture.blocks)
                # Hashes take time by the length of the memory, and there are none in an image.
                if total <= (_MOST_HASHED_LEN if kind is ExtractFormat.BLOCKS else _MOST_LEN):
                    found = extract(capture, target, ExtractOptions(kind, holes=holes))
                    report = build_extract_report(capture, found, [str(p) for p in paths], "out")
                    json_text(report)
                    _show(list(extract_text_lines(report)))
        except QmigError as error:
            _check_text(str(error))
            refusals.append(error)
        finally:
            _remove(target)
            _remove(target.with_name(target.name + MANIFEST_SUFFIX))
    if len(refusals) == len(_EXTRACTS):
        raise refusals[0]


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


def compared(paths: Sequence[Path], out: Path) -> None:
    """Ask what `qmig diff` finds of a capture and itself."""
    names = [str(path) for path in paths]
    found = compare(paths, paths)
    report = build_diff_report(found, names, names)
    json_text(report)
    _show(list(diff_text_lines(report)))
    if found.outcome is Outcome.DIFFERENT:
        raise ContractBrokenError("a capture is different from itself")


EntryPoint = Callable[[Sequence[Path], Path], None]
ENTRY_POINTS: Final[dict[str, EntryPoint]] = {
    "inspect": inspect,
    "inspect --json-lines": lines,
    "partial_ram": ram,
    "validate": judged,
    "salvage": salvaged,
    "devices": devices,
    "extract": extracted,
    "diff": compared,
}


class Contract:
    """Gives inputs to entry points and checks what they do.

    Args:
        folder: a folder of its own; inputs, outputs and temporary files go there.
    """

    def __init__(self, folder: Path) -> None:
        self._inputs = folder / "inputs"
        self._out = folder / "out"
        for made in (self._inputs, self._out):
            made.mkdir(parents=True, exist_ok=True)

    def write(self, files: Files) -> list[Path]:
        """Write an input; the one before is replaced."""
        return write_files(files, self._inputs)

    def hold(self, entry: str, paths: Sequence[Path]) -> str:
        """Give an input to an entry point.

        Args:
            entry: a key of `ENTRY_POINTS`.
            paths: the files, as `write` returned them.

        Returns:
            `ACCEPTED`, or the name of the documented exception.

        Raises:
            ContractBrokenError: files are left open or behind, or written elsewhere.
            Exception: whatever is not documented.
        """
        outcome = ACCEPTED
        free = lowest_free_file()
        with writing_only_into(self._out):
            try:
                ENTRY_POINTS[entry](paths, self._out)
            except QmigError as error:
                _check_text(str(error))
                outcome = type(error).__name__
        if lowest_free_file() > free:
            raise ContractBrokenError(f"{entry} left a file open")
        if entry in _WRITING and (left := os.listdir(self._out)):  # noqa: PTH208  # faster
            shutil.rmtree(self._out)
            self._out.mkdir()
            raise ContractBrokenError(f"{entry} left behind: {left}")
        return outcome
