"""A mapped-ram file whose bytes were moved: no page is taken from where another one stands."""

from collections.abc import Callable
from pathlib import Path

import pytest

from fixtures.catalogue import write_with_holes
from qmig.salvaging import Salvage, salvage
from tests.conftest import CaptureFiles
from tests.corpus import FIXTURES
from tests.oracle import Block
from tests.salvage.output import pages_of
from tests.salvage.truth import Pages, truth_of

SIZE = 4096
PLAIN, SPARSE = "qemu-10.0-mapped-plain", "qemu-10.0-mapped-zero-pages-none"
CHANGES: dict[str, Callable[[bytes, int], bytes]] = {
    "a byte more": lambda data, at: data[:at] + b"\x5a" + data[at:],
    "a page more": lambda data, at: data[:at] + b"\x5a" * SIZE + data[at:],
    "a byte less": lambda data, at: data[:at] + data[at + 1 :],
    "a sector less": lambda data, at: data[:at] + data[at + 512 :],
    "a page less": lambda data, at: data[:at] + data[at + SIZE :],
    "300 KB less": lambda data, at: data[:at] + data[at + 300_000 :],
}


class Case:
    """A fixture that is changed.

    Args:
        name: of the fixture.
        files: where it is.
        folder: where the changed one goes.
    """

    def __init__(self, name: str, files: CaptureFiles, folder: Path) -> None:
        (path,) = files(name)
        self.data = path.read_bytes()
        truth = truth_of(FIXTURES[name], [path])
        assert truth.mapped
        self.blocks: list[Block] = truth.mapped[0]
        self.pages: Pages = truth.pages(truth.lengths)
        self._folder = folder

    def salvaged(self, data: bytes) -> tuple[Salvage, Pages]:
        """Salvage changed bytes; return what was done, and the pages of the output."""
        with (self._folder / "damaged").open("wb") as file:
            write_with_holes(file, data)
            file.truncate(len(data))
        done = salvage(self._folder / "damaged", out=self._folder / "out", force=True)
        return done, pages_of(self._folder / "out", SIZE)

    def of(self, block: Block) -> Pages:
        """Return the pages of a block."""
        return {place: page for place, page in self.pages.items() if place[0] == block.name}


@pytest.mark.parametrize("name", [PLAIN, SPARSE])
@pytest.mark.parametrize("change", CHANGES)
def test_pages_that_were_moved_are_not_known(
    name: str, change: str, capture_files: CaptureFiles, tmp_path: Path
) -> None:
    """In each block, in front of its pages and among them."""
    case = Case(name, capture_files, tmp_path)
    for number, block in enumerate(case.blocks):
        for at in (block.bitmap_offset + 300, block.pages_offset + 100):
            done, pages = case.salvaged(CHANGES[change](case.data, at))
            where = f"{change} in {block.name!r} at 0x{at:x}"
            assert not done.found.whole, where
            lost = {"a page less": SIZE, "300 KB less": 300_000}.get(change, 0)
            if block is case.blocks[-1] and at + lost > block.pages_offset + block.used_length:
                continue  # the end of the section is lost, too, which would tell
            assert pages.items() <= case.pages.items(), where
            # What takes the next entry along loses its block, too.
            for other in (*case.blocks[:number], *case.blocks[number + 1 :]):
                if at + lost <= block.pages_offset + block.used_length:
                    assert case.of(other).items() <= pages.items(), where
            missing = {device.name for device in done.found.missing}
            assert missing <= {"timer"}, where


@pytest.mark.parametrize("length", [1, 100, SIZE, 1 << 20])
def test_stream_that_was_moved_in_its_file_is_read_all_the_same(
    length: int, capture_files: CaptureFiles, tmp_path: Path
) -> None:
    case = Case(PLAIN, capture_files, tmp_path)
    done, pages = case.salvaged(bytes(length) + case.data)
    assert pages == case.pages
    assert not done.found.whole
    assert f"{length} bytes behind it" in str(done.found.damage[0])


def test_entry_that_is_lost_does_not_hide_the_next_one(
    capture_files: CaptureFiles, tmp_path: Path
) -> None:
    """Nothing was moved then: the other blocks are known to their last page."""
    case = Case(PLAIN, capture_files, tmp_path)
    for lost in case.blocks[1:-1]:
        begin = lost.bitmap_offset - 28 - 8 - len(lost.name) - 1
        data = case.data[:begin] + b"\xff" * 48 + case.data[begin + 48 :]
        done, pages = case.salvaged(data)
        expected = case.pages.keys() - case.of(lost).keys()
        assert pages == {place: case.pages[place] for place in expected}
        assert done.found.lost_ram_len == lost.used_length
        assert not done.found.missing


def test_file_that_is_cut_short_in_its_pages_keeps_those_before(
    capture_files: CaptureFiles, tmp_path: Path
) -> None:
    case = Case(PLAIN, capture_files, tmp_path)
    main = case.blocks[0]
    cut = main.pages_offset + main.used_length // 2
    _, pages = case.salvaged(case.data[:cut])
    there = {place for place in case.of(main) if place[1] < main.used_length // 2 // SIZE}
    set_pages = {place for place in there if any(case.pages[place])}
    assert set_pages
    assert set_pages <= pages.keys()
    assert pages.items() <= case.pages.items()


def test_bytes_that_say_eos_among_others_do_not_end_a_file(
    capture_files: CaptureFiles, tmp_path: Path
) -> None:
    """A byte less in the last page: the word behind it then has the flag, and others."""
    case = Case(PLAIN, capture_files, tmp_path)
    at = case.blocks[-1].pages_offset + 519
    done, pages = case.salvaged(case.data[:at] + case.data[at + 1 :])
    assert not done.found.guest_whole
    assert (case.blocks[-1].name, 0) not in pages
    assert not done.found.missing
