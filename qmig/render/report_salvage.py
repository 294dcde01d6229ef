"""What `qmig salvage` tells, as a document; it is described in `docs/json/salvage.md`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from qmig._version import __version__
from qmig.capture.sections import SECTION_WORDS
from qmig.migrate.stream_output import names_stream
from qmig.render.document import Document, known, make
from qmig.render.report import error_object
from qmig.render.words import pure
from qmig.wire.framing import QemuVmSection

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qmig.capture.rescue_blocks import PageMap, RescuedView
    from qmig.capture.rescue_result import Rescue
    from qmig.capture.rescue_sections import FoundElement
    from qmig.migrate.counters import Counters

SCHEMA: Final = "qmig.salvage/1"
MAP_SCHEMA: Final = "qmig.salvage-map/1"
_MOST_RANGES: Final = 1000  # listed of each block; the map has all
_MOST_DAMAGES: Final = 1000


def build_salvage_report(
    found: Rescue,
    kept: Sequence[FoundElement],
    files: Sequence[str],
    out: str,
    counters: Counters,
) -> Document:
    """Return the document about a salvage that is done.

    Args:
        found: what was found; its files may be closed.
        kept: sections and commands that are in the output.
        files: as the user named them.
        out: as the user named it.
        counters: what was counted.
    """
    damage = [*found.damage, *found.damage_mended]
    blocks = [_block(*pair) for pair in zip(found.blocks, found.maps, strict=True)]
    roles = {container.path: container.role.value for container in found.containers}
    return {
        "schema": SCHEMA,
        "qmig_version": __version__,
        "files": [
            make(
                path=pure(path),
                role=known(
                    roles.get("standard input" if path == "-" else os.fspath(path)),
                    "it cannot be used",
                ),
            )
            for path in files
        ],
        "output": _output(out, marked=not found.guest_whole),
        "whole": found.whole,
        "guest_whole": found.guest_whole,
        "page_size": found.page_size_len,
        "known_pages": sum(block["known_pages"] for block in blocks),
        "unknown_pages": sum(block["unknown_pages"] for block in blocks),
        "versions_may_be_old": found.versions_may_be_old,
        "lost_ram_length": found.lost_ram_len,
        "blocks": blocks,
        "sections": [_section(element) for element in kept],
        "not_whole": [_section(element) for element, _ in found.elements if not element.complete],
        "missing": [
            {"name": pure(device.name), "instance_id": device.instance_id}
            for device in found.missing
        ],
        "missing_listed": found.missing_listed,
        "end_found": found.eof,
        "damage": [error_object(error) for error in damage[:_MOST_DAMAGES]],
        "damage_left_out": max(0, len(damage) - _MOST_DAMAGES),
        "reasons": [pure(reason) for reason in found.reasons],
        "counters": counters.as_dict(),
    }


def _output(out: str, *, marked: bool) -> Document:
    forward = names_stream(out)
    size = None if forward else Path(out).stat().st_size
    return make(path=pure(out), size=known(size, "it only goes forwards"), marked=marked)


def _block(view: RescuedView, pages: PageMap) -> Document:
    return {
        "name": pure(view.name),
        "used_length": view.used_length,
        "pages": pages.known_pages + pages.unknown_pages,
        "known_pages": pages.known_pages,
        "unknown_pages": pages.unknown_pages,
        "unknown_ranges": pages.ranges,
        "unknown": [
            {"first_page": first, "pages": count} for first, count in pages.unknown[:_MOST_RANGES]
        ],
    }


def _section(element: FoundElement) -> Document:
    kind = element.kind
    word = "COMMAND" if kind is QemuVmSection.COMMAND else SECTION_WORDS[kind]
    return {
        "type": word,
        "name": pure(element.name),
        "instance_id": element.instance_id,
        "offset": element.offset,
        "length": element.end - element.offset,
        "extent": element.extent,
        "behind_damage": element.behind_damage,
    }


def map_lines(found: Rescue) -> Iterator[str]:
    """Yield the map of pages as JSON lines: a head, then the ranges of each block in order."""
    yield json.dumps({"schema": MAP_SCHEMA, "page_size": found.page_size_len})
    for view in found.blocks:
        name = pure(view.name)
        behind = 0
        for first, count in view.known_runs():
            if first > behind:
                yield _range(name, behind, first - behind, known_pages=False)
            yield _range(name, first, count, known_pages=True)
            behind = first + count
        rest = view.block.pages(view.page_size_len) - behind
        if rest > 0:
            yield _range(name, behind, rest, known_pages=False)


def _range(name: str, first: int, count: int, *, known_pages: bool) -> str:
    return json.dumps({"block": name, "first_page": first, "pages": count, "known": known_pages})
