"""`qmig extract` in a process of its own: what it writes, says and refuses."""

import json
from pathlib import Path

import pytest

import qmig as library
from tests.cli.conftest import ROOT, Run, run_qmig
from tests.conftest import CaptureFiles
from tests.documents import read_document


@pytest.fixture
def qmig() -> Run:
    return run_qmig


@pytest.fixture
def stream(capture_files: CaptureFiles) -> Path:
    return capture_files("qemu-10.0-ordinary")[0]


def test_raw_image_has_holes_and_the_memory(stream: Path, qmig: Run, tmp_path: Path) -> None:
    out = tmp_path / "raw"
    result = qmig(["extract", stream, "--format", "raw", "-o", out])
    assert (result.code, result.err) == (0, "")
    assert "known from: CMOS" in result.out
    assert all(len(line) <= 100 for line in result.out.splitlines() if str(tmp_path) not in line)
    assert out.stat().st_size == 1 << 32  # firmware ends there
    assert out.stat().st_blocks * 512 < 8 << 20
    with library.open_capture(stream) as capture, out.open("rb") as image:
        assert image.read(0xC0000) == capture.ram["pc.ram"].read(0, 0xC0000)
        assert image.read(0x20000) == capture.ram["pc.rom"].read(0, 0x20000)
        image.seek(1 << 20)
        assert image.read(3 << 20) == capture.ram["pc.ram"].read(1 << 20, 3 << 20)


def test_json_is_as_described(stream: Path, qmig: Run, tmp_path: Path) -> None:
    for name in ("blocks", "raw", "lime", "elf"):
        result = qmig(["extract", stream, "--format", name, "-o", tmp_path / name, "--json"])
        assert result.code == 0
        found = read_document(result.out, "extract")
        assert found["output"]["format"] == name
        assert found["layout"]["ranges"][0]["origin"].startswith("CMOS")
        assert bool(found["blocks"]) == (name == "blocks")


def test_lime_image_is_ranges_behind_headers(stream: Path, qmig: Run, tmp_path: Path) -> None:
    raw, lime = tmp_path / "raw", tmp_path / "lime"
    qmig(["extract", stream, "--format", "raw", "-o", raw])
    found = read_document(
        qmig(["extract", stream, "--format", "lime", "-o", lime, "--json"]).out, "extract"
    )
    data = lime.read_bytes()
    ranges = []
    at = 0
    while at < len(data):
        head = data[at : at + 32]
        assert head[:8] == b"EMiL\x01\x00\x00\x00"
        first, last = int.from_bytes(head[8:16], "little"), int.from_bytes(head[16:24], "little")
        assert head[24:] == bytes(8)
        length = last - first + 1
        with raw.open("rb") as image:
            image.seek(first)
            assert image.read(length) == data[at + 32 : at + 32 + length]
        ranges.append((first, length))
        at += 32 + length
    assert at == len(data)
    assert ranges == [(one["start_addr"], one["length"]) for one in found["layout"]["ranges"]]


def test_range_of_memory_goes_to_standard_output(stream: Path, tmp_path: Path, qmig: Run) -> None:
    out = tmp_path / "range"
    asked = ["extract", stream, "--format", "raw", "--range", "0x100001:0x2345"]
    assert qmig([*asked, "-o", out]).code == 0
    with library.open_capture(stream) as capture:
        expected = capture.ram["pc.ram"].read(0x100001, 0x2345)
    assert out.read_bytes() == expected
    import subprocess
    import sys

    piped = subprocess.run(
        [sys.executable, "-m", "qmig", *map(str, asked), "--stdout", "--json"],
        cwd=ROOT, capture_output=True, check=True, timeout=60,
    )  # fmt: skip
    assert piped.stdout == expected
    assert read_document(piped.stderr.decode(), "extract")["output"]["path"] == "-"


def test_one_block_and_a_range_of_it(stream: Path, qmig: Run, tmp_path: Path) -> None:
    asked = ["extract", stream, "--format", "raw", "--block", "pc.bios"]
    result = qmig([*asked, "-o", tmp_path / "bios", "--json"])
    assert read_document(result.out, "extract")["layout"] is None
    with library.open_capture(stream) as capture:
        bios = capture.ram["pc.bios"].read(0, 65536)
    assert (tmp_path / "bios").read_bytes() == bios
    qmig([*asked, "--range", "10:1K", "-o", tmp_path / "part"])
    assert (tmp_path / "part").read_bytes() == bios[10 : 10 + 1024]
    result = qmig([*asked, "--range", "65000:1K", "-o", tmp_path / "behind"])
    assert result.code == 2
    assert "does not lie in RAM block 'pc.bios'" in result.err


def test_only_blocks_that_were_asked_for(stream: Path, qmig: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    asked = ["extract", stream, "--block", "pc.bios", "--block", "pc.rom", "-o", out]
    assert qmig(asked).code == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "02-pc.rom.raw",
        "03-pc.bios.raw",
        "manifest.json",
    ]


def test_missing_pages_are_an_error_or_holes_in_a_list(
    capture_files: CaptureFiles, qmig: Run, tmp_path: Path
) -> None:
    files = capture_files("qemu-10.0-shared")
    out = tmp_path / "out"
    asked = ["extract", *files, "--format", "raw", "-o", out]
    result = qmig(asked)
    assert result.code == 3
    assert "are not in the capture" in result.err
    assert not list(tmp_path.iterdir())
    result = qmig([*asked, "--missing", "hole", "--json"])
    assert result.code == 1
    found = read_document(result.out, "extract")
    assert found["missing_length"] == sum(one["length"] for one in found["missing"]) > 0
    manifest = json.loads(Path(found["output"]["manifest"]).read_text())
    assert manifest["missing"] == found["missing"]
    assert manifest["layout"] == found["layout"]


def test_damaged_capture_is_an_error_or_gives_what_it_has(
    stream: Path, qmig: Run, tmp_path: Path
) -> None:
    cut = tmp_path / "cut.sav"
    cut.write_bytes(stream.read_bytes()[:200_000])
    out = tmp_path / "out"
    result = qmig(["extract", cut, "-o", out])
    assert result.code == 1
    assert "found end of data" in result.err
    assert not out.exists()
    result = qmig(["extract", cut, "-o", out, "--missing", "hole", "--json"])
    assert result.code == 1
    found = read_document(result.out, "extract")
    assert found["layout"] is None
    assert "--below-4g" in found["absent"]["layout"]
    assert found["missing"][0] == {
        "block": "pc.ram",
        "block_addr": 327 * 4096,
        "length": 697 * 4096,
    }
    with library.open_capture(stream) as capture:
        whole = capture.ram["pc.ram"].read(0, 327 * 4096)
    data = (out / "00-pc.ram.raw").read_bytes()
    assert data == whole.ljust(1024 * 4096, b"\0")
    assert found["damage"]


WRONG = (
    (["--format", "raw"], "--out and --stdout"),
    (["--format", "tar", "-o", "OUT"], "it takes one of blocks, raw, lime, elf"),
    (["--range", "0:1", "-o", "OUT"], "--range goes with --format raw"),
    (["--format", "lime", "--block", "pc.ram", "-o", "OUT"], "--block goes with"),
    (["--format", "raw", "--block", "a", "--block", "b", "-o", "OUT"], "takes one --block"),
    (["--block", "nothing", "-o", "OUT"], "there is no such RAM block; there are 'pc.ram'"),
    (["--missing", "zero", "-o", "OUT"], "it takes error or hole"),
    (["--format", "raw", "--range", "7", "-o", "OUT"], "is not START:LENGTH"),
    (["--format", "raw", "--range", "0x3ffff0:32", "-o", "OUT"], "0x400000 of --range shows no"),
    (["--format", "raw", "--range", "0x400000:1", "-o", "OUT"], "shows no RAM"),
    (["--format", "raw", "--place", "x", "-o", "OUT"], "is not BLOCK=ADDRESS"),
    (["--stdout"], "cannot go to standard output"),
    (["--format", "raw", "--missing", "hole", "--stdout"], "needs a file"),
    (["--format", "raw", "-o", "FILE"], "one of the files to read"),
)


@pytest.mark.parametrize(("options", "said"), WRONG)
def test_wrong_options_change_nothing(
    options: list[str], said: str, stream: Path, qmig: Run, tmp_path: Path
) -> None:
    places = {"OUT": str(tmp_path / "out"), "FILE": str(stream)}
    result = qmig(["extract", stream, *(places.get(word, word) for word in options)])
    assert result.code == 2
    assert said in " ".join(result.err.replace("│", " ").split())
    assert not list(tmp_path.iterdir())


def test_what_is_there_is_not_replaced(stream: Path, qmig: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_text("mine")
    result = qmig(["extract", stream, "--format", "raw", "-o", out])
    assert (result.code, out.read_text()) == (2, "mine")
    assert qmig(["extract", stream, "--format", "lime", "-o", out, "--force"]).code == 0
    assert out.read_bytes()[:4] == b"EMiL"
    folder = tmp_path / "folder"
    folder.mkdir()
    assert qmig(["extract", stream, "-o", folder]).code == 0
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    result = qmig(["extract", stream, "-o", folder])
    assert result.code == 2
    assert "files in it" in result.err
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "out"]


def test_the_same_as_a_call(stream: Path, qmig: Run, tmp_path: Path) -> None:
    qmig(["extract", stream, "--format", "raw", "-o", tmp_path / "command"])
    found = library.extract(stream, tmp_path / "call", format="raw")
    assert found.length == (tmp_path / "command").stat().st_size
    part = library.extract([stream], tmp_path / "part", format="raw", addresses=(0x100001, 0x2345))
    assert part.length == 0x2345
    with (tmp_path / "command").open("rb") as image:
        image.seek(0x100001)
        assert image.read(0x2345) == (tmp_path / "part").read_bytes()
    with library.open_capture(stream) as capture:
        blocks = library.extract(capture, tmp_path / "blocks", blocks=["pc.bios"])
        assert capture.ram["pc.bios"].read(0, 16)
    assert [one.block.name for one in blocks.files] == ["pc.bios"]
    with pytest.raises(library.WriterError, match="is no format; there are blocks, raw"):
        library.extract(stream, tmp_path / "tar", format="tar")
    assert not (tmp_path / "tar").exists()


@pytest.mark.parametrize(
    "name", ["qemu-10.0-ordinary", "qemu-10.0-mapped-plain", "libvirt-12-zstd"]
)
def test_standard_input(name: str, capture_files: CaptureFiles, qmig: Run, tmp_path: Path) -> None:
    (path,) = capture_files(name)
    piped = qmig(["extract", "-", "-o", tmp_path / "piped"], stdin=path.read_bytes())
    assert (piped.code, piped.err) == (0, "")
    assert qmig(["extract", path, "-o", tmp_path / "read"]).code == 0
    files = {file.name: file.read_bytes() for file in (tmp_path / "read").glob("*.raw")}
    assert files
    assert files == {file.name: file.read_bytes() for file in (tmp_path / "piped").glob("*.raw")}
