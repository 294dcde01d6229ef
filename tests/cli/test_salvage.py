"""`qmig salvage` in a process of its own: what it writes, says and refuses."""

import json
from pathlib import Path

import pytest

import qmig as library
from tests.cli.conftest import Run
from tests.conftest import CaptureFiles
from tests.documents import read_document


@pytest.fixture
def ordinary(capture_files: CaptureFiles) -> Path:
    return capture_files("qemu-10.0-ordinary")[0]


@pytest.fixture
def cut(ordinary: Path, tmp_path: Path) -> Path:
    path = tmp_path / "cut.sav"
    path.write_bytes(ordinary.read_bytes()[:200_000])
    return path


def test_cut_stream_is_written_as_far_as_it_goes(cut: Path, qmig: Run, tmp_path: Path) -> None:
    out, page_map = tmp_path / "out", tmp_path / "map"
    result = qmig(["salvage", cut, "-o", out, "--map", page_map])
    assert (result.code, result.err) == (1, "")
    assert "327 of 1,106 pages known" in result.out
    assert "which are missing is not known" in result.out
    assert "found end of data after 280" in result.out
    assert all(len(line) <= 100 for line in result.out.splitlines() if str(tmp_path) not in line)
    head, *ranges = [json.loads(line) for line in page_map.read_text().splitlines()]
    assert head == {"schema": "qmig.salvage-map/1", "page_size": 4096}
    assert ranges[0] == {"block": "pc.ram", "first_page": 0, "pages": 327, "known": True}
    assert ranges[1] == {"block": "pc.ram", "first_page": 327, "pages": 697, "known": False}
    assert sum(item["pages"] for item in ranges) == 1106
    with library.open_capture(cut) as damaged, library.open_capture(out) as salvaged:
        view = salvaged.ram["pc.ram"]
        known_len = 327 * 4096
        assert view.read(0, known_len) == damaged.partial_ram["pc.ram"].read(0, known_len)
        with pytest.raises(library.MissingPagesError, match="salvaged"):
            view.read(known_len, 1)


def test_json_is_as_described(cut: Path, qmig: Run, tmp_path: Path) -> None:
    result = qmig(["salvage", cut, "-o", tmp_path / "out", "--json"])
    found = read_document(result.out, "salvage")
    assert result.code == 1
    assert (found["whole"], found["guest_whole"]) == (False, False)
    assert (found["known_pages"], found["unknown_pages"]) == (327, 779)
    assert found["blocks"][0]["unknown"] == [{"first_page": 327, "pages": 697}]
    assert found["versions_may_be_old"]
    assert not found["missing_listed"]
    assert found["output"]["marked"]
    assert [error["kind"] for error in found["damage"]] == ["TruncatedStreamError"]


def test_inspect_says_what_is_missing(cut: Path, qmig: Run, tmp_path: Path) -> None:
    qmig(["salvage", cut, "-o", tmp_path / "out"])
    shown = qmig(["inspect", tmp_path / "out"])
    assert shown.code == 0
    assert "salvaged: 327 of 1106 pages known" in shown.out
    assert "no QEMU loads what was salvaged" in shown.out


def test_validate_says_that_no_qemu_takes_it(cut: Path, qmig: Run, tmp_path: Path) -> None:
    qmig(["salvage", cut, "-o", tmp_path / "out"])
    result = qmig(["validate", tmp_path / "out"])
    assert result.code == 1
    assert "QM416" in result.out
    assert "Unknown savevm section or instance 'qmig/salvaged' 0" in result.out


def test_salvaged_again_is_still_not_whole(cut: Path, qmig: Run, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    qmig(["salvage", cut, "-o", first])
    result = qmig(["salvage", first, "-o", second, "--json"])
    found = read_document(result.out, "salvage")
    assert result.code == 1
    assert found["reasons"]
    assert (found["known_pages"], found["unknown_pages"]) == (327, 779)
    assert not found["missing_listed"]
    assert second.read_bytes().count(b"qmig/salvaged") == 2  # the section, and its description


def test_it_is_not_saved_with_zeros_for_what_is_missing(
    cut: Path, qmig: Run, tmp_path: Path
) -> None:
    qmig(["salvage", cut, "-o", tmp_path / "out"])
    for form in ("--fixed-ram", "--stream", "--multifd"):
        result = qmig(["save", tmp_path / "out", form, tmp_path / "saved"])
        assert result.code == 3
        assert "what qmig salvage found" in result.err
        assert not (tmp_path / "saved").exists()


def test_whole_capture_comes_out_whole(ordinary: Path, qmig: Run, tmp_path: Path) -> None:
    result = qmig(["salvage", ordinary, "-o", tmp_path / "out"])
    assert (result.code, result.err) == (0, "")
    assert "everything was there" in result.out
    assert (tmp_path / "out").read_bytes() == ordinary.read_bytes()


def test_missing_channel_is_told(capture_files: CaptureFiles, qmig: Run, tmp_path: Path) -> None:
    main, first, second = capture_files("qemu-10.0-multifd-none")
    whole = read_document(
        qmig(["salvage", main, first, second, "-o", tmp_path / "a", "--json"]).out, "salvage"
    )
    assert whole["whole"]
    for files in ([main], [main, first], [main, second]):
        result = qmig(["salvage", *files, "-o", tmp_path / "b", "--json", "--force"])
        found = read_document(result.out, "salvage")
        assert result.code == 1
        assert found["unknown_pages"] > 0
        assert found["missing"] == []
        assert found["reasons"]


def test_file_that_cannot_be_used_is_damage(
    capture_files: CaptureFiles, qmig: Run, tmp_path: Path
) -> None:
    main, first, _ = capture_files("qemu-10.0-multifd-none")
    (tmp_path / "empty").touch()
    arguments = ["salvage", main, tmp_path / "empty", first, tmp_path / "none"]
    result = qmig([*arguments, "-o", tmp_path / "out", "--json"])
    found = read_document(result.out, "salvage")
    assert result.code == 1
    assert [file["role"] for file in found["files"]] == ["main", None, "channel", None]
    assert len(found["damage"]) == 2


def test_from_and_to_a_pipe(cut: Path, ordinary: Path, qmig: Run, tmp_path: Path) -> None:
    result = qmig(["salvage", "-", "-o", tmp_path / "out"], stdin=cut.read_bytes())
    assert result.code == 1
    assert "327 of 1,106 pages known" in result.out
    result = qmig(["salvage", "-", "-o", tmp_path / "whole"], stdin=ordinary.read_bytes())
    assert result.code == 0
    assert (tmp_path / "whole").read_bytes() == ordinary.read_bytes()


@pytest.mark.parametrize(
    "length", [1, 8, 27, 60], ids=["magic", "header", "configuration", "block-list"]
)
def test_nothing_to_be_had(length: int, ordinary: Path, qmig: Run, tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    cut.write_bytes(ordinary.read_bytes()[:length])
    result = qmig(["salvage", cut, "-o", tmp_path / "out"])
    assert result.code == 3
    assert result.out == ""
    assert len(result.err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_channels_alone_are_not_enough(
    capture_files: CaptureFiles, qmig: Run, tmp_path: Path
) -> None:
    _, *channels = capture_files("qemu-10.0-multifd-none")
    result = qmig(["salvage", *channels, "-o", tmp_path / "out"])
    assert result.code == 3
    assert "main stream is missing" in result.err


def test_nothing_is_overwritten_without_leave(cut: Path, qmig: Run, tmp_path: Path) -> None:
    before = cut.read_bytes()
    out = tmp_path / "out"
    out.write_text("mine")
    for arguments in (
        ["-o", out],
        ["-o", cut, "--force"],
        ["-o", tmp_path / "new", "--map", out],
        ["-o", tmp_path / "new", "--map", cut, "--force"],
        ["-o", tmp_path / "new", "--map", tmp_path / "new"],
        ["-o", tmp_path / "new", "--map", "-"],
    ):
        result = qmig(["salvage", cut, *arguments])
        assert result.code == 2, arguments
        assert len(result.err.splitlines()) == 1
        assert not (tmp_path / "new").exists()
    assert out.read_text() == "mine"
    assert cut.read_bytes() == before
    assert qmig(["salvage", cut, "-o", out, "--force"]).code == 1
    assert out.read_bytes().startswith(b"QEVM")


def test_name_from_the_stream_is_never_a_path(qmig: Run, tmp_path: Path, ordinary: Path) -> None:
    data = ordinary.read_bytes()[:200_000].replace(b"pc.ram", b"../../")
    (tmp_path / "cut").write_bytes(data)
    folder = tmp_path / "folder"
    folder.mkdir()
    result = qmig(["salvage", tmp_path / "cut", "-o", folder / "out", "--map", folder / "map"])
    assert result.code == 1
    assert sorted(path.name for path in folder.iterdir()) == ["map", "out"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut", "folder"]
