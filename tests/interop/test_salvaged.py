"""No real QEMU takes a salvaged stream for a whole guest; one of which all was there it loads."""

import re
from pathlib import Path

import pytest

from fixtures.recipes import RECIPES
from fixtures.recorder.errors import RecordError
from qmig.salvaging import salvage
from tests.conftest import CaptureFiles, FindQemu
from tests.interop.test_loaded_by_qemu import blocks_at_destination, short_directory
from tests.salvage.spots import SPOTS, spots

__all__ = ["short_directory"]

pytestmark = [pytest.mark.qemu, pytest.mark.timeout(120)]

RELEASES = ("5.2", "7.2", "10.0", "11.1")
REFUSAL = re.compile(r"Unknown (savevm )?section or instance 'qmig/salvaged' 0")  # 11.1 without


def load(name: str, release: str, find_qemu: FindQemu, out: Path, directory: Path) -> None:
    """Load a stream in a QEMU that is started as the fixture's source was."""
    qemus = find_qemu(release).parent.parent
    assert blocks_at_destination(RECIPES[name], qemus, [out], directory)


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("share", [0.4, 0.85], ids=["in-ram", "behind-most-of-it"])
def test_what_was_cut_is_refused_for_the_marker(
    release: str,
    share: float,
    find_qemu: FindQemu,
    capture_files: CaptureFiles,
    tmp_path: Path,
    short_directory: Path,
) -> None:
    name = f"qemu-{release}-ordinary"
    (path,) = capture_files(name)
    data = path.read_bytes()
    (tmp_path / "cut").write_bytes(data[: int(len(data) * share)])
    done = salvage(tmp_path / "cut", out=tmp_path / "out")
    assert not done.found.guest_whole
    with pytest.raises(RecordError) as caught:
        load(name, release, find_qemu, tmp_path / "out", short_directory)
    assert REFUSAL.search(str(caught.value))


@pytest.mark.parametrize("release", RELEASES)
def test_guest_that_is_whole_is_loaded(
    release: str,
    find_qemu: FindQemu,
    capture_files: CaptureFiles,
    tmp_path: Path,
    short_directory: Path,
) -> None:
    name = f"qemu-{release}-ordinary"
    (path,) = capture_files(name)
    (tmp_path / "cut").write_bytes(path.read_bytes()[:-1000])  # in the vmdescription
    done = salvage(tmp_path / "cut", out=tmp_path / "out")
    assert done.found.guest_whole
    assert not done.found.whole
    load(name, release, find_qemu, tmp_path / "out", short_directory)


@pytest.mark.parametrize("spot", SPOTS)
def test_guest_is_loaded_that_was_refused_for_one_byte(
    spot: str,
    find_qemu: FindQemu,
    capture_files: CaptureFiles,
    tmp_path: Path,
    short_directory: Path,
) -> None:
    name, release = "qemu-10.0-ordinary", "10.0"
    (path,) = capture_files(name)
    damaged = bytearray(path.read_bytes())
    damaged[spots(bytes(damaged), 4096)[spot]] ^= 0x40
    (tmp_path / "damaged").write_bytes(damaged)
    with pytest.raises(RecordError):
        load(name, release, find_qemu, tmp_path / "damaged", short_directory.with_name("damaged"))
    done = salvage(tmp_path / "damaged", out=tmp_path / "out")
    assert done.found.guest_whole
    load(name, release, find_qemu, tmp_path / "out", short_directory)
