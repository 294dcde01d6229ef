"""What qmig calls whole, a real destination of the same release loads, to the same RAM."""

import hashlib
from pathlib import Path

import pytest

import qmig
from fixtures.catalogue import TruthBlock, TruthRange
from fixtures.recipes import RECIPES
from fixtures.recorder.errors import RecordError
from fixtures.recorder.firmware.image import load_image
from fixtures.recorder.recipe import FIRMWARE_NAME, Recipe
from fixtures.recorder.record import find_emulator, record
from fixtures.recorder.replay import loaded
from fixtures.recorder.truth import read_blocks, read_mapped, tells_addresses
from tests.interop.judge import PIECE_LEN, Recorded, recorded

pytestmark = [pytest.mark.qemu, pytest.mark.timeout(120)]

LOADED = [
    *(
        f"qemu-{release}-{kind}"
        for release in ("5.2", "7.2", "10.0", "11.1")
        for kind in ("ordinary", "live", "xbzrle", "multifd-none", "multifd-zlib", "devices-q35")
    ),
    *(f"qemu-{release}-compress-xbzrle" for release in ("5.2", "7.2")),
    *(f"qemu-{release}-multifd-zstd" for release in ("7.2", "10.0", "11.1")),
    *(f"qemu-{release}-mapped-multifd-live" for release in ("10.0", "11.1")),
]


def blocks_at_destination(
    recipe: Recipe, qemus: Path, files: list[Path], directory: Path
) -> dict[str, TruthBlock]:
    """Load a capture and return what the destination holds."""
    directory.mkdir()
    (directory / FIRMWARE_NAME).write_bytes(load_image())
    with loaded(
        find_emulator(qemus, recipe.qemu),
        recipe.arguments,
        files,
        directory,
        capabilities=recipe.capabilities,
        parameters=recipe.parameters,
    ) as destination:
        if tells_addresses(destination):
            blocks = read_blocks(destination)
        else:
            blocks = read_mapped(destination, recipe.mapped)
    return {
        name: TruthBlock(
            used_length=block["used_length"],
            ranges=tuple(TruthRange(**item) for item in block["ranges"]),
        )
        for name, block in blocks.items()
    }


def fresh(name: str, qemus: Path, directory: Path) -> Recorded:
    return recorded(name, record(RECIPES[name], qemus, directory), directory)


@pytest.fixture
def short_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose name is short: the paths of UNIX sockets are."""
    return tmp_path_factory.mktemp("d") / "q"


@pytest.mark.parametrize("name", LOADED)
def test_whole_capture_is_loaded(
    name: str, qemus: Path, tmp_path: Path, short_directory: Path
) -> None:
    what = fresh(name, qemus, tmp_path)
    with qmig.open_capture(*what.paths) as capture:
        assert capture.errors == []
        found = blocks_at_destination(RECIPES[name], qemus, list(what.paths), short_directory)
        assert found
        for block_name, block in found.items():
            view = capture.ram[block_name]
            assert view.used_length == block.used_length
            for item in block.ranges:
                digest = hashlib.sha256()
                for addr in range(item.addr, item.addr + item.length, PIECE_LEN):
                    piece_len = min(PIECE_LEN, item.addr + item.length - addr)
                    digest.update(view.read(addr, piece_len))
                assert digest.hexdigest() == item.sha256, (block_name, hex(item.addr))


@pytest.mark.parametrize("release", ["5.2", "7.2", "10.0", "11.1"])
def test_capture_that_is_cut_is_refused_by_both(
    release: str, qemus: Path, tmp_path: Path, short_directory: Path
) -> None:
    """Cut inside the RAM: qmig tells where, and the destination does not come up either."""
    name = f"qemu-{release}-ordinary"
    (path,) = fresh(name, qemus, tmp_path).paths
    whole_len = path.stat().st_size
    cut_len = whole_len // 2
    with path.open("r+b") as stream:
        stream.truncate(cut_len)
    with qmig.open_capture(path) as capture:
        (error,) = capture.errors
        assert isinstance(error, qmig.TruncatedStreamError)
        assert error.offset <= cut_len
        assert str(path) in str(error)
    with pytest.raises(RecordError):
        blocks_at_destination(RECIPES[name], qemus, [path], short_directory)
