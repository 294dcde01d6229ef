"""Storage that is full, fails, or may not be written to."""

import errno
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from qmig.errors import OutputClosedError, OutputError, OutputRefusedError
from qmig.limits import MIB
from qmig.migrate.output import AtomicFile
from qmig.migrate.output_set import AtomicSet
from qmig.migrate.stream_output import StreamOutput

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount, or be another user")


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """Mount a small file system in memory."""
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        pytest.skip(f"cannot mount a tmpfs here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@needs_root
@pytest.mark.parametrize("anonymous", [True, False])
@pytest.mark.parametrize("direct_io", [True, False])
def test_full_storage(tmp_path: Path, anonymous: bool, direct_io: bool) -> None:
    with mounted(tmp_path / "small", "size=1m") as folder:
        out = folder / "vm.img"
        out.write_bytes(b"what was there")
        with (
            pytest.raises(OutputError) as caught,
            AtomicFile(out, force=True, anonymous=anonymous, direct_io=direct_io) as file,
        ):
            file.needed_len = 3 * MIB
            for offset in range(0, 3 * MIB, 256 * 1024):
                file.pwrite(b"x" * 256 * 1024, offset)
        line = str(caught.value)
        assert line.startswith(f"{out}: cannot write ")
        assert " at 0x000" in line
        assert f": No space left on device; {folder} has " in line
        assert line.endswith(" bytes free; the whole file needs 3145728")
        assert "\n" not in line
        assert isinstance(caught.value.__cause__, OSError)
        assert [path.name for path in folder.iterdir()] == ["vm.img"]
        assert out.read_bytes() == b"what was there"
        with AtomicFile(out, force=True) as file:  # there is room again
            file.append(b"x" * 512 * 1024)
            file.commit()


@needs_root
def test_full_storage_of_a_set(tmp_path: Path) -> None:
    with mounted(tmp_path / "small", "size=1m") as folder:
        with pytest.raises(OutputError, match="No space left"), AtomicSet() as outputs:
            files = [outputs.open(folder / name) for name in ("main", "channel")]
            for offset in range(0, 2 * MIB, 65536):
                for file in files:
                    file.pwrite(b"x" * 65536, offset)
        assert list(folder.iterdir()) == []


@needs_root
def test_file_system_that_is_read_only(tmp_path: Path) -> None:
    with (
        mounted(tmp_path / "still", "size=1m,ro") as folder,
        pytest.raises(OutputError, match="Read-only file system; write elsewhere"),
    ):
        AtomicFile(folder / "vm.img")


LIMITED = """
import resource, sys
from qmig.errors import OutputError
from qmig.migrate.output import AtomicFile

resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    with AtomicFile(sys.argv[1], anonymous=sys.argv[2] == "True") as file:
        if sys.argv[3] == "reserve":
            file.reserve(200_000)
        for offset in range(0, 200_000, 4096):
            file.pwrite(bytes(4096), offset)
        file.commit()
except OutputError as error:
    print(error)
    sys.exit(3)
"""


@pytest.mark.parametrize("anonymous", [True, False])
@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("write", "cannot write 4096 bytes at 0x00018000"),  # the first that goes beyond
        ("reserve", "cannot make it 200000 bytes long"),
    ],
)
def test_file_that_may_not_be_so_long(
    tmp_path: Path, anonymous: bool, how: str, message: str
) -> None:
    out = tmp_path / "vm.img"
    command = [sys.executable, "-c", LIMITED, str(out), str(anonymous), how]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 3, done.stderr
    assert done.stdout == (
        f"{out}: {message}: File too large; the file system, or `ulimit -f`, allows no file of this"
        " length\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_storage_that_fails_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    out = tmp_path / "vm.img"
    out.write_bytes(b"what was there")
    with (
        pytest.raises(OutputError, match="cannot bring it to the storage: Input/output error"),
        AtomicFile(out, force=True) as file,
    ):
        file.append(b"new")
        monkeypatch.setattr(os, "fsync", fail)
        file.commit()
    assert out.read_bytes() == b"what was there"
    assert [path.name for path in tmp_path.iterdir()] == ["vm.img"]


def test_file_is_on_the_storage_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order of calls is all that a test without a power cut can see of durability."""
    out = tmp_path / "vm.img"
    calls: list[tuple[str, bool]] = []
    real = os.fsync

    def fsync(fd: int) -> None:
        calls.append(("folder" if os.path.isdir(fd) else "file", out.exists()))  # noqa: PTH112  # pathlib has none for descriptors
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    with AtomicFile(out) as file:
        file.append(b"new")
        file.commit()
    assert calls == [("file", False), ("folder", True)]


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users can reach, which those of pytest are not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextmanager
def as_nobody() -> Iterator[None]:
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@needs_root
def test_folder_that_may_not_be_written_to(open_folder: Path) -> None:
    with as_nobody(), pytest.raises(OutputError) as caught:
        AtomicFile(open_folder / "vm.img")
    assert str(caught.value) == (
        f"{open_folder / 'vm.img'}: cannot write in {open_folder}: Permission denied; "
        "write elsewhere, or as another user"
    )
    assert not isinstance(caught.value, OutputRefusedError)


@needs_root
def test_file_that_only_its_owner_may_replace(open_folder: Path) -> None:
    open_folder.chmod(0o1777)
    (open_folder / "vm.img").touch()
    with as_nobody():
        with pytest.raises(OutputError, match="belongs to another user"):
            AtomicFile(open_folder / "vm.img", force=True)
        with AtomicFile(open_folder / "own.img") as file:
            file.commit()
        with AtomicFile(open_folder / "own.img", force=True) as file:
            file.commit()
    assert (open_folder / "own.img").stat().st_uid == NOBODY


def test_device_that_is_full() -> None:
    with (
        StreamOutput("/dev/full") as stream,
        pytest.raises(OutputError) as caught,
    ):
        stream.append(b"data")
    assert str(caught.value) == (
        "/dev/full: cannot write 4 bytes behind 0x00000000: No space left on device; "
        "make room there, or write elsewhere"
    )


def test_reader_that_has_gone(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with StreamOutput(pipe) as stream:
        stream.append(b"read by nobody")
        os.close(reader)
        with pytest.raises(OutputClosedError, match="Broken pipe"):
            stream.append(b"more")


def test_terminal_is_refused() -> None:
    leader, follower = os.openpty()
    try:
        with pytest.raises(OutputRefusedError, match="is a terminal; send it to a file"):
            StreamOutput(os.ttyname(follower))
    finally:
        os.close(leader)
        os.close(follower)


STANDARD_OUTPUT = """
import os, sys
from qmig.errors import OutputError
from qmig.migrate.stream_output import StreamOutput

try:
    print("text before")
    if "nonblocking" in sys.argv:
        os.set_blocking(1, False)
    with StreamOutput() as stream:
        for index in range(64):
            stream.append(bytes([index]) * 65536)
        stream.commit()
    print(*stream.remarks, file=sys.stderr)
except OutputError as error:
    print(error, file=sys.stderr)
    sys.exit(3)
os.set_blocking(1, True)  # Python's own text output cannot wait
print("text behind")
"""
STREAM = b"".join(bytes([index]) * 65536 for index in range(64))


@pytest.mark.parametrize("how", ["blocking", "nonblocking"])
def test_standard_output(how: str) -> None:
    command = [sys.executable, "-c", STANDARD_OUTPUT, how]
    buffered = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    done = subprocess.run(command, capture_output=True, cwd=ROOT, env=buffered)
    assert done.stdout == b"text before\n" + STREAM + b"text behind\n"
    assert done.stderr == (
        b"standard output: if the save fails, what was written so far stays written\n"
    )
    assert done.returncode == 0


def test_standard_output_into_a_file(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as out:
        subprocess.run([sys.executable, "-c", STANDARD_OUTPUT], stdout=out, cwd=ROOT, check=True)
    assert (tmp_path / "out").read_bytes() == b"text before\n" + STREAM + b"text behind\n"


def test_standard_output_that_is_closed() -> None:
    command = f'exec "{sys.executable}" -c "$0" >&-'
    done = subprocess.run(
        ["sh", "-c", command, STANDARD_OUTPUT], stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert done.returncode == 3
    assert done.stderr == "standard output: cannot write to it: Bad file descriptor\n"
