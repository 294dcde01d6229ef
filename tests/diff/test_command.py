"""`qmig diff` as a user runs it: the text, JSON by its schema, exit codes, two groups of files."""

import json
from pathlib import Path
from typing import Final

import pytest

import qmig as package
from qmig.cli.diff import two_captures
from qmig.cli.guard import UsageError
from qmig.comparison.ignoring import CLOCKS
from qmig.comparison.model import Comparison, Outcome, PageState, What
from qmig.render.report_diff import build_diff_report
from qmig.render.text_diff import diff_text_lines
from tests.cli.conftest import run_qmig
from tests.conftest import CaptureFiles
from tests.devices.described import device, field, stream
from tests.documents import read_document, require_golden, require_reasons, schema_of

GOLDEN: Final = Path(__file__).with_name("golden")
KIND: Final = device(field("x", "uint32", 4), field("text", "buffer", 8))
# Pairs of fixtures that differ in everything that there is to tell.
PAIRS: Final = {
    "devices": ("qemu-10.0-devices-pc", "qemu-7.2-devices-pc"),
    "machines": ("qemu-10.0-s390x-stopped", "qemu-10.0-devices-q35"),
    "lacking": ("qemu-11.1-shared", "qemu-11.1-mapped-shared"),
    "damaged": ("libvirt-12-raw", "libvirt-12-partial"),
    "rounds": ("qemu-11.1-live", "qemu-11.1-xbzrle"),
    "bitmaps": ("qemu-11.1-dirty-bitmap", "qemu-5.2-dirty-bitmap"),
}


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Two streams that differ in two fields."""
    paths = (tmp_path / "before.sav", tmp_path / "after.sav")
    paths[0].write_bytes(stream(b"\0\0\0\1prelaunc", KIND))
    paths[1].write_bytes(stream(b"\0\1\0\1running\0", KIND))
    return paths


def test_schema_is_one() -> None:
    schema = schema_of("diff")
    assert schema["properties"]["outcome"]["enum"] == [one.value for one in Outcome]
    assert schema["$defs"]["state"]["enum"] == [one.value for one in PageState]
    assert schema["$defs"]["difference"]["properties"]["what"]["enum"] == [w.value for w in What]


@pytest.mark.parametrize("name", PAIRS)
def test_document_and_text_of_fixtures(
    name: str,
    capture_files: CaptureFiles,
    monkeypatch: pytest.MonkeyPatch,
    update_golden: bool,
) -> None:
    paths = [capture_files(one) for one in PAIRS[name]]
    monkeypatch.chdir(paths[0][0].parent)
    a, b = ([Path(one.name) for one in files] for files in paths)
    found = package.compare(a, b)
    assert found.outcome is not Outcome.EQUAL
    document = build_diff_report(found, [one.name for one in a], [one.name for one in b])
    require_reasons(read_document(json.dumps(document), "diff"))
    lines = list(diff_text_lines(document))
    assert all(len(line) <= 100 for line in lines)
    assert not any(line != line.rstrip() for line in lines)
    text = "\n".join(lines) + "\n"
    require_golden(text, GOLDEN / f"{name}.txt", update=update_golden)


def test_golden_files_are_those_of_the_tests() -> None:
    assert sorted(path.stem for path in GOLDEN.iterdir()) == sorted(PAIRS)


def test_text_begins_with_the_summary(pair: tuple[Path, Path]) -> None:
    done = run_qmig(["diff", *(path.name for path in pair)], cwd=pair[0].parent)
    assert (done.code, done.err) == (1, "")
    assert done.out.splitlines() == [
        "A and B differ",
        "  A         before.sav",
        "  B         after.sav",
        "  sections  2 in both, 1 of them differs",
        "  fields    2 differ",
        "  RAM       none of 0 pages differs",
        "",
        "Sections that differ",
        "  dev/0",
        "    field                    A           B",
        "    x                        1           0x10001",
        '    text (byte 0, 8 differ)  "prelaunc"  "running"',
    ]


def test_exit_codes(pair: tuple[Path, Path], capture_files: CaptureFiles, tmp_path: Path) -> None:
    a, b = pair
    equal = run_qmig(["diff", a, a])
    assert equal.code == 0
    assert equal.out.startswith("A and B are equal\n")
    assert run_qmig(["diff", "--ignore", "dev/0/x", "--ignore", "*/text", a, b]).code == 0
    assert run_qmig(["diff", "--ignore", "dev/0/x", a, b]).code == 1
    (shared,) = capture_files("qemu-11.1-shared")
    unknown = run_qmig(["diff", shared, shared])
    assert unknown.code == 3
    assert "1,024 pages in neither (--accept-missing takes them for equal)" in unknown.out
    assert run_qmig(["diff", "--accept-missing", shared, shared]).code == 0
    cut = tmp_path / "cut"
    cut.write_bytes(a.read_bytes()[:100])
    damaged = run_qmig(["diff", a, cut])
    assert damaged.code == 3
    assert len(damaged.err.splitlines()) == 1
    assert "B cannot be read to its end" in damaged.out
    text = tmp_path / "text"
    text.write_text("some text\n")
    assert run_qmig(["diff", a, text]).code == 3
    assert run_qmig(["diff", a, tmp_path / "nothing"]).code == 3


@pytest.mark.parametrize(
    "arguments",
    [["one"], ["one", "two", "three"], ["one", "--"], ["--", "one"], ["a", "--", "b", "--", "c"],
     ["-", "-"], ["-", "a", "--", "-"], []],
)  # fmt: skip
def test_what_is_not_two_captures_is_wrong_usage(arguments: list[str]) -> None:
    done = run_qmig(["diff", *arguments])
    assert done.code == 2
    assert "Traceback" not in done.err


def test_two_captures_are_told_apart() -> None:
    assert two_captures(["a", "b"]) == (["a"], ["b"])
    assert two_captures(["a", "c", "--", "b", "-"]) == (["a", "c"], ["b", "-"])
    with pytest.raises(UsageError, match="give two captures"):
        two_captures(["a", "b", "c"])


def test_sets_of_files_are_separated(capture_files: CaptureFiles, tmp_path: Path) -> None:
    paths = capture_files("qemu-11.1-multifd-zstd")
    package.save(paths, tmp_path / "one", format="mapped-ram")
    done = run_qmig(["diff", "--json", *paths, "--", tmp_path / "one"])
    assert (done.code, done.err) == (0, "")
    document = read_document(done.out, "diff")
    require_reasons(document)
    assert [len(document[letter]["files"]) for letter in ("a", "b")] == [len(paths), 1]
    turned = run_qmig(["diff", tmp_path / "one", "--", *reversed(paths)])
    assert turned.code == 0


def test_one_of_them_comes_from_a_pipe(capture_files: CaptureFiles) -> None:
    (path,) = capture_files("qemu-10.0-devices-pc")
    done = run_qmig(["diff", "-", path], stdin=path.read_bytes())
    assert (done.code, done.err) == (0, "")


def test_each_stream_begins_where_it_is_said_to(pair: tuple[Path, Path], tmp_path: Path) -> None:
    a, b = (path.read_bytes() for path in pair)
    volume = tmp_path / "volume"
    volume.write_bytes(a + b)
    arguments: list[str | Path] = ["diff", volume, volume]
    assert run_qmig(arguments).code == 0
    assert run_qmig([*arguments, "--offset-b", f"0x{len(a):x}"]).code == 1
    both = [*arguments, "--offset-a", str(len(a)), "--offset-b", str(len(a))]
    assert run_qmig(both).code == 0
    assert run_qmig([*arguments, "--offset-a", str(len(a)), "--offset-b", "0"]).code == 1
    assert run_qmig([*arguments, "--offset-a", "-1"]).code == 2


def test_result_goes_into_a_file(pair: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    arguments: list[str | Path] = ["diff", "--json", "--output", out, *pair]
    assert run_qmig(arguments) == (1, "", "")
    require_reasons(read_document(out.read_text(), "diff"))
    assert run_qmig(arguments).code == 2
    assert run_qmig(["diff", "--force", "--output", pair[0], *pair]).code == 2


def test_clocks_are_left_out(capture_files: CaptureFiles, tmp_path: Path) -> None:
    """Two fields of the clock that all timers count by are all that differs."""
    (path,) = capture_files("qemu-10.0-devices-pc")
    data = bytearray(path.read_bytes())
    at = data.index(b"\5timer") + 6 + 8
    data[at + 7] ^= 1
    data[at + 23] ^= 1
    later = tmp_path / "later"
    later.write_bytes(data)
    found = package.compare(path, later)
    assert [one.path for section in found.sections for one in section.fields] == [
        "timer/0/cpu_ticks_offset",
        "timer/0/cpu_clock_offset",
    ]
    done = run_qmig(["diff", "--ignore-clocks", path, later])
    assert done.code == 0
    assert "  ignored   2 differences\n" in done.out


def test_the_page_lists_the_clocks() -> None:
    page = (Path(__file__).parents[2] / "docs/diff.md").read_text()
    listed = page.partition("those of the type `timer`, and\n\n```\n")[2].partition("\n```")[0]
    assert listed.splitlines() == list(CLOCKS)


def test_long_lists_are_cut_short_in_the_text_alone(tmp_path: Path) -> None:
    kind = device(field("list", "uint8", 1, array_len=99))
    paths = [tmp_path / "a", tmp_path / "b"]
    paths[0].write_bytes(stream(bytes(99), kind))
    paths[1].write_bytes(stream(b"\1" * 99, kind))
    document = build_diff_report(package.compare(*paths), ["a"], ["b"])
    assert len(document["sections"][0]["fields"]) == 99
    lines = list(diff_text_lines(document))
    assert "    and 59 fields more; --json tells of them" in lines


def test_names_from_a_stream_are_harmless(tmp_path: Path) -> None:
    name = "x" * 150
    kind = device(field("evil\x1b[31m\n", "uint8", 1), name=name)
    paths = [tmp_path / "a", tmp_path / "b"]
    for path, byte in zip(paths, b"\1\2", strict=True):
        path.write_bytes(stream(bytes([byte]), kind, name=name))
    found = package.compare(*paths)
    assert found.sections[0].fields[0].path == f"{name}/0/evil\x1b[31m\n"
    lines = list(diff_text_lines(build_diff_report(found, ["a"], ["b"])))
    assert all(line.isprintable() and len(line) <= 100 for line in lines)


def test_public_call_takes_open_captures(capture_files: CaptureFiles) -> None:
    (path,) = capture_files("qemu-10.0-ordinary")
    told: list[tuple[str, int, int]] = []
    with package.open_capture(path) as capture:
        found = package.compare(
            capture, path, progress=lambda name, done, whole: told.append((name, done, whole))
        )
        assert capture.ram["pc.ram"].read(0, 1)
    assert isinstance(found, Comparison)
    assert found.equal
    assert [name for name, *_ in told] == [block.name for block in found.blocks]
    assert all(done == whole for _, done, whole in told)
