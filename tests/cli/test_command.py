"""`qmig inspect` in a process of its own: output, errors and exit codes, as a user gets them."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import ROOT, Run, run_qmig
from tests.conftest import CaptureFiles

ESCAPE = "\x1b"


@pytest.fixture
def ordinary(capture_files: CaptureFiles) -> Path:
    return capture_files("qemu-10.0-ordinary")[0]


def test_version_loads_nothing_heavy() -> None:
    script = (
        "import sys; sys.argv = ['qmig', '--version']\n"
        "from qmig.__main__ import main\n"
        "assert main() == 0\n"
        "heavy = {'typer', 'construct', 'numpy', 'rich', 'dataclasses', 'pathlib', 'json'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    version, loaded = done.stdout.splitlines()
    assert re.fullmatch(r"qmig \d+\.\d+.*", version)
    assert loaded == "[]"


def test_version_is_the_same_wherever_it_is_asked(qmig: Run) -> None:
    fast, parsed = qmig(["--version"]), qmig(["--version", "inspect"])
    assert fast == parsed
    assert fast.code == 0


def test_plain_inspect_loads_neither_typer_nor_numpy_nor_rich(ordinary: Path) -> None:
    script = (
        "import sys\n"
        "from qmig.__main__ import main\n"
        "assert main() == 0\n"
        "print(sorted({'typer', 'numpy', 'rich', 'zstandard'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "inspect", str(ordinary)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr.strip() == "[]"
    assert "pc.ram" in done.stdout


def test_files_alone_give_what_the_parser_gives(qmig: Run, ordinary: Path) -> None:
    """Without options no parser is loaded; the result is the same."""
    alone = qmig(["inspect", ordinary])
    parsed = qmig(["inspect", "--quiet", ordinary])
    assert alone == parsed
    assert alone.code == 0
    assert alone.err == ""


def test_all_output_forms(qmig: Run, ordinary: Path) -> None:
    document = json.loads(qmig(["inspect", "--json", ordinary]).out)
    assert document["schema"] == "qmig.inspect/1"
    lines = [json.loads(x) for x in qmig(["inspect", "--json-lines", ordinary]).out.splitlines()]
    assert lines[0]["schema"] == "qmig.inspect-lines/1"
    assert lines[-1]["offset"] + lines[-1]["length"] == ordinary.stat().st_size


@pytest.mark.parametrize(
    ("options", "headings"),
    [
        (["--ram"], ["RAM"]),
        (["--sections"], ["Sections"]),
        (["--channels"], ["Channels"]),
        (["--ram", "--sections"], ["Sections", "RAM"]),
    ],
)
def test_choice_of_tables(
    options: list[str], headings: list[str], qmig: Run, capture_files: CaptureFiles
) -> None:
    result = qmig(["inspect", *options, *capture_files("qemu-10.0-multifd-none")])
    found = [line for line in result.out.splitlines() if line and not line.startswith(" ")]
    assert found == headings


def test_standard_input(qmig: Run, ordinary: Path) -> None:
    piped = json.loads(qmig(["inspect", "--json", "-"], stdin=ordinary.read_bytes()).out)
    direct = json.loads(qmig(["inspect", "--json", ordinary]).out)
    # A pipe cannot be read ahead, so the vmdescription comes too late to tell where sections end.
    assert {row.pop("extent") for row in piped["sections"]} == {"grammar", "footer"}
    assert {row.pop("extent") for row in direct["sections"]} == {"grammar", "vmdescription"}
    for part in ("stream", "sections", "ram", "written_by", "errors"):
        assert piped[part] == direct[part]
    assert piped["files"][0]["path"] == "standard input"
    assert piped["to_load"]["incoming"]["uri"] is None


def test_mapped_ram_through_a_pipe_says_what_it_lacks(
    qmig: Run, capture_files: CaptureFiles
) -> None:
    (path,) = capture_files("qemu-10.0-mapped-plain")
    result = qmig(["inspect", "--ram", "--json", "-"], stdin=path.read_bytes())
    block = json.loads(result.out)["ram"]["blocks"][0]
    assert block["mapped"]["pages_set"] is None
    assert "pipe" in block["mapped"]["absent"]["pages_set"]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("empty", b"", "an empty file"),
        ("text", b"hello\n", "text"),
        ("elf", b"\x7fELF" + bytes(60), "an ELF file"),
        ("disk.qcow2", b"QFI\xfb" + bytes(60), "a qcow2 disk image"),
    ],
)
def test_wrong_kind_of_file(
    name: str, content: bytes, says: str, qmig: Run, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    result = qmig(["inspect", path])
    assert result.code == 3
    assert result.out == ""
    (line,) = result.err.splitlines()
    assert line.startswith(f"qmig: {path}: ")
    assert says in line


def test_directory_and_missing_file(qmig: Run, tmp_path: Path) -> None:
    for path, says in ((tmp_path, "is a directory"), (tmp_path / "no", "No such file")):
        result = qmig(["inspect", path])
        assert result.code == 3
        assert len(result.err.splitlines()) == 1
        assert says in result.err


def test_a_file_whose_end_cannot_be_sought(qmig: Run) -> None:
    result = qmig(["inspect", "/proc/self/maps"])
    assert result.code == 3
    assert result.err.startswith("qmig: /proc/self/maps: has no end that can be looked for: ")


def test_closed_standard_input_and_a_file_of_that_name(
    qmig: Run, ordinary: Path, tmp_path: Path
) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$@" <&-', "sh", sys.executable, "-m", "qmig", "inspect", "-"],
        cwd=ROOT, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (3, b"qmig: standard input: is closed\n")
    (tmp_path / "standard input").symlink_to(ordinary)
    assert qmig(["inspect", "--ram", "standard input"], cwd=tmp_path).code == 0


def test_damaged_file_is_shown_as_far_as_it_goes(qmig: Run, ordinary: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    cut.write_bytes(ordinary.read_bytes()[:400_000])
    result = qmig(["inspect", cut])
    assert result.code == 1
    (line,) = result.err.splitlines()
    assert re.fullmatch(rf"qmig: {cut}: 0x[0-9a-f]{{8}} .*: expected .*, found .*", line)
    assert "NOT WHOLE" in result.out
    assert "NOT READ" in result.out
    assert "pc.ram" in result.out
    assert line not in result.out


def test_unsupported_stream_is_not_called_bad(qmig: Run, capture_files: CaptureFiles) -> None:
    result = qmig(["inspect", *capture_files("handmade-ram-hook")])
    assert result.code == 3
    assert "HOOK" in result.err
    assert "pc.ram" in result.out


@pytest.mark.parametrize(
    "arguments",
    [
        ["inspect"],
        ["inspect", "--nonsense", "file"],
        ["inspect", "--page-size", "100", "file"],
        ["inspect", "--page-size", "4097", "file"],
        ["inspect", "--offset", "here", "file"],
        ["inspect", "--offset", "-1", "file"],
        ["inspect", "--json", "--json-lines", "file"],
        ["inspect", "--json-lines", "--ram", "file"],
        ["frobnicate"],
    ],
)
def test_wrong_usage(arguments: list[str], qmig: Run) -> None:
    result = qmig(arguments)
    assert result.code == 2
    assert "Traceback" not in result.err


def test_numbers_may_be_hexadecimal(qmig: Run, capture_files: CaptureFiles) -> None:
    (path,) = capture_files("qemu-10.0-mapped-offset")
    decimal = qmig(["inspect", "--offset", str(0x3000), path])
    hexadecimal = qmig(["inspect", "--offset", "0x3000", "--page-size", "0x1000", path])
    assert decimal.code == hexadecimal.code == 0
    assert "4096 bytes (given by the user)" in hexadecimal.out
    assert "pc.ram" in decimal.out


# -- the output file ------------------------------------------------------------------------------


def test_output_file_is_not_overwritten(qmig: Run, ordinary: Path, tmp_path: Path) -> None:
    target = tmp_path / "report"
    assert qmig(["inspect", "--output", target, ordinary]) == (0, "", "")
    first = target.read_text()
    assert first == qmig(["inspect", ordinary]).out
    refused = qmig(["inspect", "--ram", "--output", target, ordinary])
    assert refused.code == 2
    assert "--force" in refused.err
    assert target.read_text() == first
    assert qmig(["inspect", "--ram", "--output", target, "--force", ordinary]).code == 0
    assert target.read_text() != first
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report"]


def test_input_is_never_overwritten(qmig: Run, tmp_path: Path, ordinary: Path) -> None:
    copy = tmp_path / "copy"
    copy.write_bytes(ordinary.read_bytes())
    result = qmig(["inspect", "--output", copy, "--force", copy])
    assert result.code == 2
    assert copy.read_bytes() == ordinary.read_bytes()


def test_failure_leaves_no_output_file(qmig: Run, tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    bad.write_text("text")
    assert qmig(["inspect", "--output", tmp_path / "out", bad]).code == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad"]


def test_output_file_of_a_damaged_stream_has_the_error(
    qmig: Run, ordinary: Path, tmp_path: Path
) -> None:
    cut = tmp_path / "cut"
    cut.write_bytes(ordinary.read_bytes()[:5000])
    result = qmig(["inspect", "--output", tmp_path / "out", cut])
    assert result.code == 1
    assert len(result.err.splitlines()) == 1
    text = (tmp_path / "out").read_text()
    assert "Errors" in text.splitlines()
    assert "end of data after" in text


# -- terminals ------------------------------------------------------------------------------------


def on_terminal(arguments: list[str | Path], env: dict[str, str] | None = None) -> str:
    """Run on a terminal; return what it shows."""
    parent, child = pty.openpty()
    plain = {k: v for k, v in os.environ.items() if k != "NO_COLOR"}
    process = subprocess.Popen(
        [sys.executable, "-m", "qmig", *map(str, arguments)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=child,
        stderr=child,
        env={**plain, "TERM": "xterm", **(env or {})},
    )
    os.close(child)
    shown = b""
    try:
        while data := os.read(parent, 65536):
            shown += data
    except OSError:  # the terminal is gone with its last user
        pass
    os.close(parent)
    assert process.wait(timeout=60) == 0
    return shown.decode()


def test_headings_are_bold_on_a_terminal_alone(qmig: Run, ordinary: Path) -> None:
    assert f"{ESCAPE}[1mRAM{ESCAPE}[0m" in on_terminal(["inspect", ordinary])
    # Without progress, which on a busy machine appears, and moves the cursor.
    assert ESCAPE not in on_terminal(["inspect", "--quiet", ordinary], {"NO_COLOR": "1"})
    assert ESCAPE not in qmig(["inspect", ordinary]).out


def test_hostile_names_do_not_reach_the_terminal(qmig: Run, ordinary: Path, tmp_path: Path) -> None:
    data = ordinary.read_bytes()
    evil = tmp_path / "evil"
    for name in (b"\x1b]0;x\x07", b"\xff\xfe\x80abc", "‮abcd".encode()[:6]):
        assert len(name) <= len(b"pc.bios")
        renamed = data.replace(b"\x07pc.bios", b"\x07" + name.ljust(7, b"_"))
        assert renamed != data
        evil.write_bytes(renamed)
        for options in ([], ["--json"], ["--json-lines"]):
            result = qmig(["inspect", *options, evil])
            assert result.code == 0, result.err
            assert all(c.isprintable() or c == "\n" for c in result.out)
            assert not re.search(r"[\ud800-\udfff]", result.out)


def test_closed_pipe_is_quiet(ordinary: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "qmig", "inspect", "--json-lines", str(ordinary)],
        cwd=ROOT,
        stdout=writing,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    os.close(writing)
    assert done.returncode == 141
    assert done.stderr == b""


def test_every_error_is_shown_once(capture_files: CaptureFiles, tmp_path: Path) -> None:
    main, *channels = capture_files("qemu-10.0-multifd-none")
    cut = []
    for path in (main, *channels):
        copy = tmp_path / path.name
        copy.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
        cut.append(copy)
    result = run_qmig(["inspect", *cut])
    assert result.code == 1
    lines = result.err.splitlines()
    assert len(lines) == len(set(lines)) == 3
    for path in cut:
        assert sum(str(path) in line for line in lines) == 1
