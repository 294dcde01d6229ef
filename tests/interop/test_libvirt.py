"""Save images that a real libvirt writes, in all its formats, and unfinished ones."""

from pathlib import Path

import pytest

import qmig
from fixtures.recorder import libvirt
from tests.checks.sound import require_not_called_wrong
from tests.interop.claims import CLAIMS, unmet_claims
from tests.interop.judge import (
    assert_complete,
    assert_formats_are_the_guests,
    assert_ram_is_the_guests,
    assert_release_is_possible,
    opened,
    recorded,
)

RECIPES = libvirt.RECIPES
CUT_TRIES = 15
PARTIAL = {name for name, recipe in RECIPES.items() if recipe.cut_len is not None}
WHOLE = sorted(set(RECIPES) - PARTIAL)


@pytest.fixture(scope="session")
def libvirt_root(qemus: Path) -> Path:
    """The folder that `fixtures/recorder/get-libvirt` was given: the same as the QEMUs'."""
    root = qemus / "libvirt"
    assert root.is_dir(), f"{root} is missing: get-libvirt {qemus} puts it in place"
    return qemus


@pytest.mark.qemu
@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", WHOLE)
def test_image_is_read(name: str, libvirt_root: Path, tmp_path: Path) -> None:
    what = recorded(name, libvirt.record(RECIPES[name], libvirt_root, tmp_path), tmp_path)
    with opened(what) as seen:
        assert unmet_claims(seen) == []
        assert_complete(seen)
        assert_ram_is_the_guests(seen)
        assert_release_is_possible(seen)
    assert_formats_are_the_guests(what, tmp_path / "extracts")
    require_not_called_wrong(what.paths)


@pytest.mark.qemu
@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", sorted(PARTIAL))
def test_unfinished_image_is_told(name: str, libvirt_root: Path, tmp_path: Path) -> None:
    """Its RAM is refused: where the bitmaps are still zero, it would look like a zero guest.

    The host may also die behind QEMU's last byte and before libvirt's: then the stream is whole,
    and only the magic is that of an unfinished image. Such a recording is made again.
    """
    for attempt in range(CUT_TRIES):
        directory = tmp_path / str(attempt)
        directory.mkdir()
        what = recorded(name, libvirt.record(RECIPES[name], libvirt_root, directory), directory)
        with qmig.open_capture(*what.paths) as capture:
            assert capture.main is not None
            assert capture.main.libvirt is not None
            assert capture.main.libvirt.partial
            assert capture.blocks
            if capture.stream.eof_offset is not None:
                assert capture.errors == []
                continue
            assert capture.errors
            with pytest.raises(qmig.StreamError):
                _ = capture.ram
            return
    pytest.fail(f"QEMU was done before the host died, {CUT_TRIES} times")


def test_every_format_of_libvirt_is_recorded() -> None:
    claimed = {word for name in WHOLE for word in RECIPES[name].covers}
    assert claimed <= set(CLAIMS)
    formats = {"raw", "gzip", "bzip2", "xz", "lzop", "zstd", "sparse"}
    assert {f"container:libvirt-{name}" for name in formats} <= claimed
    assert len(PARTIAL) == 2
