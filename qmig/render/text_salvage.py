"""The document of `qmig salvage` as text for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qmig.render.table import Column, pairs, table
from qmig.render.words import (
    full_size,
    grouped,
    harmless,
    plural,
    share,
    wrapped,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qmig.render.document import Document

_MOST_RANGES: Final = 4  # shown of a block
_MOST_NAMED: Final = 8
_MOST_DAMAGES: Final = 10
_BULLET: Final = "  - "
_COLUMNS: Final = (
    Column("block", flexible=True),
    Column("pages", right=True),
    Column("known", right=True),
    Column("missing", right=True),
    Column("missing pages", flexible=True),
)


def salvage_text_lines(report: Document) -> Iterator[str]:
    """Yield the lines of a report for people."""
    output = report["output"]
    name = "standard output" if output["path"] == "-" else harmless(output["path"])
    size = "" if output["size"] is None else f"  {full_size(output['size'])}"
    yield from wrapped(f"{name}{size}", first="wrote ", rest="      ")
    if report["whole"]:
        yield "everything was there: it is an ordinary stream, which a QEMU loads"
    elif report["guest_whole"]:
        yield "the guest is whole, and a QEMU loads it: what is wrong was left out or mended"
    else:
        yield "parts of the guest are missing: no QEMU loads it (qmig/salvaged), and qmig reads it"
    yield from pairs(list(_summary(report)))
    if report["unknown_pages"]:
        yield ""
        yield from table(_COLUMNS, [_row(block) for block in report["blocks"]])
    if report["damage"] or report["reasons"]:
        yield ""
        yield "What is wrong"
        yield from _damage_lines(report)


def _summary(report: Document) -> Iterator[tuple[str, str]]:
    known, unknown = report["known_pages"], report["unknown_pages"]
    text = f"{grouped(known)} of {plural(known + unknown, 'page')} known"
    if unknown:
        text += f" ({share(known, known + unknown)}), {grouped(unknown)} missing"
    yield "RAM", text
    if report["lost_ram_length"]:
        yield "", f"and {full_size(report['lost_ram_length'])} in blocks of which nothing is known"
    if report["versions_may_be_old"]:
        yield "", "of a guest that ran, pages may be older than they were at its end"
    kept = [section for section in report["sections"] if section["type"] == "FULL"]
    behind = sum(section["behind_damage"] for section in kept)
    found = f", {grouped(behind)} of them found again behind damage" if behind else ""
    yield "devices", f"{grouped(len(kept))} kept{found}"
    lost = _lost(report)
    if lost:
        yield "", lost
    partial = [section["name"] for section in report["not_whole"] if section["name"] != "ram"]
    if partial:
        yield "", f"cut short or damaged, and left out: {_named(partial)}"


def _lost(report: Document) -> str:
    missing = [
        device["name"] + (f" {device['instance_id']}" if device["instance_id"] else "")
        for device in report["missing"]
    ]
    if missing:
        more = "" if report["missing_listed"] else ", and others that nothing tells"
        return f"{grouped(len(missing))} missing: {_named(missing)}{more}"
    if not report["missing_listed"]:
        return "which are missing is not known: the list at the end (vmdescription) is lost, too"
    return ""


def _named(names: list[str]) -> str:
    shown = ", ".join(names[:_MOST_NAMED])
    more = len(names) - _MOST_NAMED
    return f"{shown} and {more} more" if more > 0 else shown


def _row(block: Document) -> list[str]:
    ranges = [
        f"{item['first_page']}"
        if item["pages"] == 1
        else f"{item['first_page']}-{item['first_page'] + item['pages'] - 1}"
        for item in block["unknown"][:_MOST_RANGES]
    ]
    more = block["unknown_ranges"] - len(ranges)
    return [
        block["name"],
        grouped(block["pages"]),
        grouped(block["known_pages"]),
        grouped(block["unknown_pages"]),
        ", ".join(ranges) + (f" and {plural(more, 'range')} more" if more > 0 else ""),
    ]


def _damage_lines(report: Document) -> Iterator[str]:
    for error in report["damage"][:_MOST_DAMAGES]:
        yield from wrapped(harmless(error["text"]), first=_BULLET, rest="    ")
    more = len(report["damage"]) - _MOST_DAMAGES + report["damage_left_out"]
    if more > 0:
        yield f"{_BULLET}{plural(more, 'place')} more"
    for reason in report["reasons"]:
        yield from wrapped(harmless(reason), first=_BULLET, rest="    ")
