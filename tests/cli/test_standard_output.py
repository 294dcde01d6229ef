"""Standard output that takes nothing, is closed, or is read by nobody: one line and a code."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import ROOT
from tests.conftest import CaptureFiles

FULL = Path("/dev/full")
FULL_LINE = "qmig: standard output: cannot write to it: No space left on device\n"
CLOSED_LINE = "qmig: standard output: cannot write to it: it is closed\n"

RESULTS = [
    ["validate", "--explain", "QM017"],
    ["inspect", "FILE"],
    ["inspect", "--json-lines", "FILE"],
    ["validate", "FILE"],
    ["validate", "--json", "FILE"],
    ["devices", "FILE"],
    ["devices", "--json", "FILE", "timer"],
    ["diff", "FILE", "FILE"],
]
TEXTS = [["--version"], ["--help"], ["inspect", "--help"]]
REPORTS = [["extract", "FILE", "-o"], ["salvage", "FILE", "-o"], ["save", "FILE", "--stream"]]


@pytest.fixture
def ordinary(capture_files: CaptureFiles) -> str:
    return str(capture_files("qemu-10.0-ordinary")[0])


def command(arguments: list[str], file: str) -> list[str]:
    given = [file if argument == "FILE" else argument for argument in arguments]
    return [sys.executable, "-m", "qmig", *given]


def run(arguments: list[str], file: str, stdout: int) -> tuple[int, str]:
    done = subprocess.run(
        command(arguments, file), cwd=ROOT, stdout=stdout, stderr=subprocess.PIPE, timeout=60,
        check=False,
    )  # fmt: skip
    return done.returncode, done.stderr.decode()


def run_closed(arguments: list[str], file: str) -> tuple[int, str]:
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$@" >&-', "sh", *command(arguments, file)],
        cwd=ROOT, stderr=subprocess.PIPE, timeout=60, check=False,
    )  # fmt: skip
    return done.returncode, done.stderr.decode()


@pytest.mark.parametrize("arguments", RESULTS + TEXTS, ids=" ".join)
def test_full(arguments: list[str], ordinary: str) -> None:
    with FULL.open("wb") as full:
        assert run(arguments, ordinary, full.fileno()) == (3, FULL_LINE)


@pytest.mark.parametrize("arguments", REPORTS, ids=" ".join)
def test_full_for_the_report_of_a_file_that_is_written(
    arguments: list[str], ordinary: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with FULL.open("wb") as full:
        assert run([*arguments, str(out)], ordinary, full.fileno()) == (3, FULL_LINE)
    assert list(tmp_path.iterdir()) == [out]


def test_full_behind_an_error_is_no_second_line(ordinary: str) -> None:
    with FULL.open("wb") as full:
        code, said = run(["inspect", ordinary + ".not-there"], ordinary, full.fileno())
    assert code == 3
    assert said.count("\n") == 1
    assert "No such file" in said


@pytest.mark.parametrize("arguments", RESULTS, ids=" ".join)
def test_closed(arguments: list[str], ordinary: str) -> None:
    assert run_closed(arguments, ordinary) == (3, CLOSED_LINE)


@pytest.mark.parametrize("arguments", TEXTS, ids=" ".join)
def test_closed_for_help(arguments: list[str], ordinary: str) -> None:
    assert run_closed(arguments, ordinary) == (0, "")


@pytest.mark.parametrize("arguments", REPORTS, ids=" ".join)
def test_closed_for_the_report_of_a_file_that_is_written(
    arguments: list[str], ordinary: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert run_closed([*arguments, str(out)], ordinary) == (0, "")
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("arguments", RESULTS + TEXTS, ids=" ".join)
def test_reader_that_is_gone(arguments: list[str], ordinary: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        assert run(arguments, ordinary, writing) == (141, "")
    finally:
        os.close(writing)


def test_damage_that_nobody_reads_of_has_its_line_and_no_more(
    ordinary: str, tmp_path: Path
) -> None:
    """Lines of JSON are shown, then the file is seen to be of no use."""
    cut = tmp_path / "cut"
    cut.write_bytes(Path(ordinary).read_bytes()[:400_000])
    reading, writing = os.pipe()
    os.close(reading)
    try:
        code, said = run(["inspect", "--json-lines", str(cut)], str(cut), writing)
    finally:
        os.close(writing)
    assert code == 141
    assert "Exception ignored" not in said


def test_a_reader_that_waits_does_not_keep_an_interrupted_command(ordinary: str) -> None:
    reading, writing = os.pipe()
    with subprocess.Popen(
        command(["inspect", "--json-lines", "FILE"], ordinary), cwd=ROOT, stdout=writing,
        stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        os.close(writing)
        assert process.stderr is not None
        try:
            os.read(reading, 1)  # it writes, and soon waits
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(timeout=2)
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=30) == 130
            assert process.stderr.read() == b"qmig: interrupted\n"
        finally:
            process.kill()
            os.close(reading)
