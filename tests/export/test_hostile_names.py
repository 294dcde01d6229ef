"""Names of blocks that try to be paths: nothing is written but inside the folder."""

import json
from pathlib import Path

import pytest

import qmig
from qmig.export.blocks import file_name
from qmig.export.extract import ExtractOptions, extract
from qmig.memory import RamBlock
from tests.conftest import CaptureFiles

NAMES = (
    "../outside",
    "/absolute",
    "..",
    ".",
    "a/../../b",
    "nul\0byte",
    "\udcff\udc80",
    "n" * 255,
    "-rf",
    "line\nfeed",
    "manifest.json",
    "CON",
    "\u202egpj",
)


@pytest.mark.parametrize("name", NAMES)
def test_name_of_a_file_is_no_path_and_short(name: str) -> None:
    made = file_name(RamBlock(7, name, 4096, 0))
    assert made == Path(made).name
    assert made.startswith("07-")
    assert made.isascii()
    assert made.isprintable()
    assert len(made) < 120


def test_blocks_that_look_alike_keep_files_of_their_own() -> None:
    made = {file_name(RamBlock(at, name, 4096, 0)) for at, name in enumerate(("a/b", "a_b", "a:b"))}
    assert len(made) == 3


@pytest.mark.parametrize("name", ["../../outside", "/tmp/qmig-out", "..\0/../../../../x/../out"])  # noqa: S108  # a name in a stream, not a file
def test_nothing_is_written_outside(name: str, capture_files: CaptureFiles, tmp_path: Path) -> None:
    (stream,) = capture_files("qemu-10.0-ordinary")
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    hostile = inner / "hostile.sav"
    hostile.write_bytes(renamed(stream.read_bytes(), b"/rom@etc/acpi/tables", name))
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    with qmig.open_capture(hostile) as capture:
        extract(capture, inner / "out", ExtractOptions())
    written = {path for path in tmp_path.rglob("*") if path.is_file()} - before
    assert {path.parent for path in written} == {inner / "out"}
    manifest = json.loads((inner / "out" / "manifest.json").read_text())
    files = {entry["file"] for entry in manifest["files"]}
    assert files | {"manifest.json"} == {path.name for path in written}
    assert manifest["files"][1]["file"].startswith("01-")


def renamed(data: bytes, old: bytes, name: str) -> bytes:
    """Return a stream in which a block has another name, of the same length."""
    new = name.encode().ljust(len(old), b"_")[: len(old)]
    assert data.count(old) > 1
    return data.replace(old, new)
