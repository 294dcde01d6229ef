"""The document of `qmig extract` as text for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qmig.render.document import why
from qmig.render.table import Column, table
from qmig.render.words import full_size, grouped, harmless, plural, wrapped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qmig.render.document import Document

_MOST_RANGES: Final = 8  # of missing memory
_BULLET: Final = "  - "
_RANGES: Final = (
    Column("guest-physical", right=True),
    Column("length", right=True),
    Column("RAM block", flexible=True),
    Column("from", right=True),
)
_HIDDEN: Final = (
    Column("guest-physical", right=True),
    Column("length", right=True),
    Column("shows", flexible=True),
)
_BLOCKS: Final = (
    Column("file", flexible=True),
    Column("length", right=True),
    Column("sha256"),
)


def extract_text_lines(report: Document) -> Iterator[str]:
    """Yield the lines of a report for people."""
    output = report["output"]
    name = "standard output" if output["path"] == "-" else harmless(output["path"])
    what = f"{name}  {output['format']}, {full_size(output['length'])}"
    yield from wrapped(what, first="wrote ", rest="      ")
    if report["blocks"]:
        yield from _block_lines(report)
    if "core" in report:
        core = report["core"]
        yield f"registers of {plural(core['cpus'], 'CPU')}"
        yield f"VMCOREINFO: {core['vmcoreinfo'] or why(core, 'vmcoreinfo')}"
    yield from _layout_lines(report)
    if report["missing"]:
        yield from _missing_lines(report)
    for error in report["damage"]:
        yield from wrapped(harmless(error["text"]), first=_BULLET, rest="    ")


def _block_lines(report: Document) -> Iterator[str]:
    yield ""
    rows = [[one["file"], grouped(one["length"]), one["sha256"][:16]] for one in report["blocks"]]
    yield from table(_BLOCKS, rows)


def _layout_lines(report: Document) -> Iterator[str]:
    layout = report["layout"]
    yield ""
    if layout is None:
        yield from wrapped(harmless(why(report, "layout")), first="no layout: ", rest="  ")
        return
    yield "Layout"
    rows = [
        [
            f"0x{one['start_addr']:x}",
            grouped(one["length"]),
            one["block"],
            f"0x{one['block_addr']:x}",
        ]
        for one in layout["ranges"]
    ]
    yield from table(_RANGES, rows)
    for origin in dict.fromkeys(one["origin"] for one in layout["ranges"]):
        yield from wrapped(harmless(origin), first="  known from: ", rest="    ")
    if layout["hidden"]:
        yield "No RAM"
        hidden = [
            [f"0x{one['start_addr']:x}", grouped(one["length"]), one["why"]]
            for one in layout["hidden"]
        ]
        yield from table(_HIDDEN, hidden)
    for one in () if report["blocks"] else layout["unplaced"]:
        text = f"{harmless(one['block'])}: {harmless(one['why'])}"
        yield from wrapped(text, first="  not in it: ", rest="    ")


def _missing_lines(report: Document) -> Iterator[str]:
    ranges = report["missing"]
    yield ""
    yield f"Missing: {grouped(report['missing_length'])} bytes, left out"
    for one in ranges[:_MOST_RANGES]:
        where = f"{harmless(one['block'])} 0x{one['block_addr']:x}"
        yield from wrapped(f"{where}, {grouped(one['length'])} bytes", first=_BULLET, rest="    ")
    if len(ranges) > _MOST_RANGES:
        yield f"    and {plural(len(ranges) - _MOST_RANGES, 'range')} more"
