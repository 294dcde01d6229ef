"""`--output` to what is no ordinary file, and when the command is stopped meanwhile."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import ROOT, Run
from tests.conftest import CaptureFiles

VERBS = [["inspect"], ["inspect", "--json-lines"], ["validate"], ["devices"], ["diff", "FILE"]]


@pytest.fixture
def ordinary(capture_files: CaptureFiles) -> str:
    return str(capture_files("qemu-10.0-ordinary")[0])


def given(verb: list[str], file: str) -> list[str]:
    return [file if argument == "FILE" else argument for argument in verb]


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
@pytest.mark.parametrize("force", [[], ["--force"]], ids=["", "force"])
def test_a_pipe_stays_one_and_gets_the_text(
    verb: list[str], force: list[str], ordinary: str, qmig: Run, tmp_path: Path
) -> None:
    """A file put in its place would cut off its reader; of `/dev/null`, the whole machine."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    name, *options = given(verb, ordinary)
    with subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE) as reader:
        try:
            result = qmig([name, "--output", pipe, *force, *options, ordinary])
            assert result == (0, "", "")
            assert reader.stdout is not None
            assert reader.stdout.read().decode() == qmig([name, *options, ordinary]).out
        finally:
            reader.kill()
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert list(tmp_path.iterdir()) == [pipe]


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_a_link_stays_one(verb: list[str], ordinary: str, qmig: Run, tmp_path: Path) -> None:
    link, file = tmp_path / "link", tmp_path / "file"
    link.symlink_to("file")
    file.write_text("old")
    name, *options = given(verb, ordinary)
    assert qmig([name, "--output", link, *options, ordinary]).code == 2
    assert file.read_text() == "old"
    assert qmig([name, "--output", link, "--force", *options, ordinary]) == (0, "", "")
    assert link.is_symlink()
    assert file.read_text() == qmig([name, *options, ordinary]).out


def test_a_socket_is_no_file(ordinary: str, qmig: Run, tmp_path: Path) -> None:
    socket = tmp_path / "socket"
    os.mknod(socket, stat.S_IFSOCK | 0o600)
    result = qmig(["inspect", "--output", socket, "--force", ordinary])
    assert result.code == 2
    assert "is a socket" in result.err
    assert stat.S_ISSOCK(socket.stat().st_mode)


def test_minus_is_standard_output(ordinary: str, qmig: Run, tmp_path: Path) -> None:
    result = qmig(["inspect", "--output", "-", ordinary], cwd=tmp_path)
    assert result == qmig(["inspect", ordinary])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("number", "code", "says"),
    [
        (signal.SIGTERM, 143, b"qmig: stopped by SIGTERM\n"),
        (signal.SIGHUP, 129, b"qmig: stopped by SIGHUP\n"),
        (signal.SIGINT, 130, b"qmig: stopped by SIGINT\n"),
    ],
)
def test_stopped_it_leaves_nothing(
    number: signal.Signals, code: int, says: bytes, ordinary: str, tmp_path: Path
) -> None:
    """It has written, and waits for the rest of standard input when the signal comes."""
    reading, writing = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-m", "qmig", "inspect", "--json-lines", "--output", str(tmp_path / "x"),
         "-"],
        cwd=ROOT, stdin=reading, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        os.close(reading)
        assert process.stderr is not None
        try:
            with open(writing, "wb", closefd=False) as pipe:
                pipe.write(Path(ordinary).read_bytes()[:400_000])
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(timeout=3)
            process.send_signal(number)
            assert process.wait(timeout=30) == code
            assert process.stderr.read() == says
        finally:
            process.kill()
            os.close(writing)
    assert not list(tmp_path.iterdir())
