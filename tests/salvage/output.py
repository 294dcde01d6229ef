"""What a salvaged stream holds, as the independent reader sees it."""

from pathlib import Path

from tests.oracle import PLAIN, ZERO, MainWalk
from tests.salvage.truth import Pages


def pages_of(out: Path, page_size: int) -> Pages:
    """Return the pages that a salvaged stream has records of."""
    data = out.read_bytes()
    found = MainWalk(data, page_size).walk()
    assert found.whole
    pages: Pages = {}
    for block, kind, page, at, length in found.pages:
        place = (found.blocks[block].name, page)
        assert place not in pages, "a page is there twice"
        assert kind in (ZERO, PLAIN)
        pages[place] = bytes(data[at : at + length]) if kind == PLAIN else bytes(page_size)
    return pages
