"""Blocks of a capture that come from raw dumps instead."""

from pathlib import Path

import numpy as np
import pytest

import qmig
from qmig.migrate.captured import CapturedGuest
from qmig.migrate.overlaid import OverlaidGuest
from tests.conftest import CaptureFiles
from tests.migrate.saved import devices, ram_by_oracle, ram_by_qmig

PAGE = 4096


@pytest.fixture
def ordinary(capture_files: CaptureFiles) -> Path:
    return capture_files("qemu-10.0-ordinary")[0]


def dump_of(length: int, path: Path) -> bytes:
    """Write a dump whose pages tell their index, with a hole of some pages in it."""
    pages = np.arange(length // PAGE, dtype="<u8").repeat(PAGE // 8)
    content = pages.tobytes()
    content = content[: 8 * PAGE] + bytes(16 * PAGE) + content[24 * PAGE :]
    with path.open("wb") as file:
        file.write(content[: 8 * PAGE])
        file.seek(24 * PAGE)
        file.write(content[24 * PAGE :])
    return content


def test_named_blocks_come_from_dumps_and_others_from_the_capture(
    ordinary: Path, tmp_path: Path
) -> None:
    with qmig.open_capture(ordinary) as capture:
        length = capture.ram["pc.ram"].used_length
        content = dump_of(length, tmp_path / "dump")
        with OverlaidGuest(CapturedGuest(capture.ram), {"pc.ram": tmp_path / "dump"}) as guest:
            for block in guest.blocks:
                pages = block.used_length // PAGE
                found = guest.read_pages(block.index, 0, pages).tobytes()
                name = block.name
                expected = content if name == "pc.ram" else capture.ram[name].read(0, len(found))
                assert found == expected, name
                assert guest.sent(block.index, 0, pages).all()


@pytest.mark.parametrize("format_", ["mapped-ram", "stream"])
def test_saved_with_the_devices_of_a_capture(format_: str, ordinary: Path, tmp_path: Path) -> None:
    dump, out = tmp_path / "dump", tmp_path / "out"
    with qmig.open_capture(ordinary) as capture:
        content = dump_of(capture.ram["pc.ram"].used_length, dump)
    qmig.save(ordinary, out, format=format_, ram={"pc.ram": dump})
    found, expected = ram_by_qmig([out]), ram_by_qmig([ordinary])
    assert ram_by_oracle([out], PAGE) == found
    assert {name for name in found if found[name] != expected[name]} == {"pc.ram"}
    with qmig.open_capture(out) as saved:
        assert saved.ram["pc.ram"].read(0, len(content)) == content
    assert devices(out, PAGE) == devices(ordinary, PAGE)


def test_unknown_block_names_those_that_there_are(ordinary: Path, tmp_path: Path) -> None:
    dump_of(PAGE * 64, tmp_path / "dump")
    with pytest.raises(qmig.WriterError, match=r"no RAM block 'ram'; there are .*'pc\.ram'"):
        qmig.save(ordinary, tmp_path / "out", ram={"ram": tmp_path / "dump"})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("length", [PAGE * 64, PAGE * 1025])
def test_length_must_be_the_blocks(length: int, ordinary: Path, tmp_path: Path) -> None:
    dump_of(length, tmp_path / "dump")
    with pytest.raises(qmig.WriterError, match=f"{length} bytes are not the whole .* 4194304"):
        qmig.save(ordinary, tmp_path / "out", ram={"pc.ram": tmp_path / "dump"})


def test_dump_that_is_cut_inside_a_page(ordinary: Path, tmp_path: Path) -> None:
    (tmp_path / "dump").write_bytes(bytes(PAGE + 1))
    with pytest.raises(qmig.WriterError, match="4097 bytes is no multiple of the page"):
        qmig.save(ordinary, tmp_path / "out", ram={"pc.ram": tmp_path / "dump"})


def test_dumps_make_shared_memory_whole(capture_files: CaptureFiles, tmp_path: Path) -> None:
    """With what x-ignore-shared left out, the output needs no such capability."""
    paths = capture_files("qemu-11.1-shared")
    with qmig.open_capture(*paths) as capture:
        content = dump_of(capture.ram["shared-memory"].used_length, tmp_path / "dump")
        without = tmp_path / "without"
        qmig.save(capture, without, format="stream")
        for format_, out in (("stream", tmp_path / "s"), ("mapped-ram", tmp_path / "m")):
            qmig.save(capture, out, format=format_, ram={"shared-memory": tmp_path / "dump"})
    with qmig.open_capture(without) as saved:
        assert saved.stream.configuration is not None
        assert saved.stream.configuration.capabilities == ("x-ignore-shared",)
        assert saved.ram["shared-memory"].missing_pages()
    for out, recorded in ((tmp_path / "s", ()), (tmp_path / "m", ("mapped-ram",))):
        with qmig.open_capture(out) as saved:
            assert saved.stream.configuration is not None
            assert tuple(saved.stream.configuration.capabilities or ()) == recorded
            assert all(block.addr is None for block in saved.blocks)
            assert saved.ram["shared-memory"].read(0, len(content)) == content
