"""The manifest beside what was extracted: JSON, described in `docs/extract.md`."""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from qmig._version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qmig.export.extract import Extract
    from qmig.export.layout import Layout

MANIFEST_SCHEMA: Final = "qmig.manifest/1"
_NO_RANGES: Final = '\n "missing": []'  # no text has a line feed in it
_RANGES_AT_ONCE: Final = 1000


def manifest_pieces(found: Extract, page_size_len: int) -> Iterator[bytes]:
    """Yield the manifest in pieces: what is missing may be very many ranges.

    Args:
        found: what was extracted.
        page_size_len: bytes of a target page.
    """
    document: dict[str, Any] = {
        "schema": MANIFEST_SCHEMA,
        "qmig_version": __version__,
        "format": found.format.value,
        "page_size": page_size_len,
        "length": found.length,
        "files": [
            {
                "block": readable(written.block.name),
                "file": written.name,
                "length": written.block.used_length,
                "sha256": written.sha256,
            }
            for written in found.files
        ],
        "layout": layout_object(found.layout),
        "missing": [],
    }
    if found.layout is None:
        document["absent"] = {"layout": readable(found.no_layout or "it was not asked for")}
    text = json.dumps(document, indent=1) + "\n"
    if not found.missing:
        yield text.encode()
        return
    front, behind = text.split(_NO_RANGES)
    yield (front + _NO_RANGES[:-1]).encode()
    yield from _range_pieces(found)
    yield ("\n ]" + behind).encode()


def _range_pieces(found: Extract) -> Iterator[bytes]:
    ranges = iter(found.missing)
    comma = ""
    while some := list(islice(ranges, _RANGES_AT_ONCE)):
        listed = [
            {"block": readable(one.block), "block_addr": one.addr, "length": one.length}
            for one in some
        ]
        # Without the brackets around the list, and one level further in.
        inner = json.dumps(listed, indent=1)[1:-2].replace("\n", "\n ")
        yield (comma + inner).encode()
        comma = ","


def layout_object(layout: Layout | None) -> dict[str, Any] | None:
    """Return a layout as JSON objects."""
    if layout is None:
        return None
    return {
        "ranges": [
            {
                "start_addr": one.start_addr,
                "length": one.length,
                "block": readable(one.block),
                "block_addr": one.block_addr,
                "origin": readable(one.origin),
            }
            for one in layout.ranges
        ],
        "hidden": [
            {"start_addr": one.start_addr, "length": one.length, "why": one.why}
            for one in layout.hidden
        ],
        "unplaced": [
            {"block": readable(one.block), "length": one.length, "why": one.why}
            for one in layout.unplaced
        ],
    }


def readable(text: str) -> str:
    """Return text for JSON: bytes that are not UTF-8 become what Python writes for them."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
