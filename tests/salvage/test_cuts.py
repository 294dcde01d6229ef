"""Every fixture, cut short: all pages before the cut are recovered, bit for bit, and no other."""

from pathlib import Path

import pytest

import qmig
from qmig.salvaging import salvage
from tests.conftest import CaptureFiles
from tests.corpus import FIXTURES, each_fixture
from tests.oracle_channel import page_size_of
from tests.salvage.cuts import CUTS, CutCopies, places
from tests.salvage.output import pages_of
from tests.salvage.truth import truth_of

SAMPLE = 6  # cuts of a fixture that the plain test run makes; `--thorough` makes all

# Of these nothing can be had before their end: a bzip2 block holds all of the stream; the pages of
# an interrupted mapped-ram save have no bitmap; behind an RDMA record nobody knows what follows.
NOTHING_BEFORE_THE_END = {
    "handmade-ram-hook",
    "libvirt-12-bzip2",
    "libvirt-12-sparse-partial",
    "qemu-10.0-exec-bzip2",
}


@each_fixture
def test_pages_before_a_cut_are_recovered_and_no_other(
    name: str, capture_files: CaptureFiles, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    paths = capture_files(name)
    truth = truth_of(FIXTURES[name], paths)
    page_size = page_size_of(FIXTURES[name].covers)
    count = CUTS if pytestconfig.getoption("--thorough") else SAMPLE
    copies = CutCopies(paths, tmp_path)
    out = tmp_path / "out"
    recovered = 0
    for index, length in places(name, truth, paths, CUTS)[:count]:
        copies.cut(index, length)
        expected = truth.pages(copies.limits(truth, index, length))
        where = f"{copies.copies[index].name} cut at {length}"
        try:
            done = salvage(*copies.copies, out=out, force=True)
        except (qmig.SourceError, qmig.StreamError) as error:
            assert not expected, f"{where}: {error}"
            continue
        found = pages_of(out, page_size)
        assert found.keys() - expected.keys() == set(), f"{where}: not there"
        assert expected.keys() - found.keys() == set(), f"{where}: not recovered"
        wrong = [place for place, page in expected.items() if found[place] != page]
        assert not wrong, where
        known = sum(pages.known_pages for pages in done.found.maps)
        assert known == len(expected)
        recovered += len(found)
    assert bool(recovered) == (name not in NOTHING_BEFORE_THE_END)


def test_a_cut_inside_of_a_page_makes_no_smaller_pages(
    capture_files: CaptureFiles, tmp_path: Path
) -> None:
    """The vmdescription is cut off, and most pages are compressed: any size but for flags fits."""
    (path,) = capture_files("qemu-8.2-compress")
    with path.open("rb") as file:
        (tmp_path / "cut").write_bytes(file.read(22578))
    found = salvage(tmp_path / "cut", out=tmp_path / "out").found
    assert found.page_size_len == 4096
    assert not any("cannot be decoded" in reason for reason in found.reasons)
