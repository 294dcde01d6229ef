"""Where an output may go: looked at before any work."""

import os
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

import qmig
from qmig.errors import OutputError, OutputRefusedError
from qmig.migrate.output import AtomicFile
from qmig.migrate.target import check_target
from tests.conftest import CaptureFiles


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


REFUSALS: dict[str, tuple[Callable[[Path], object], str]] = {
    "file": (Path.touch, "exists already; --force replaces it"),
    "folder": (Path.mkdir, "is a folder, not a file"),
    "pipe": (os.mkfifo, "is a pipe, not a file"),
    "socket": (make_socket, "is a socket, not a file"),
    "link": (lambda path: path.symlink_to("/dev/null"), "is a character device, not a file"),
    "loop": (lambda path: path.symlink_to(path.name), "loop|symbolic links"),
}


@pytest.mark.parametrize("kind", REFUSALS)
def test_refused_before_any_work(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, message = REFUSALS[kind]
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    make(Path(kind))
    with pytest.raises(OutputError, match=message) as caught:
        AtomicFile(kind)
    assert str(caught.value).startswith(f"{kind}: ")
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == [kind]
    if kind not in ("file", "loop"):
        with pytest.raises(OutputRefusedError, match="is a "):
            AtomicFile(kind, force=True)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "names no file"),
        ("folder/", "names no file"),
        ("missing/vm.img", "cannot write there: No such file or directory"),
        ("file/vm.img", "cannot write there: Not a directory"),
        ("x" * 256, "cannot write there: File name too long"),
        (".", "is a folder"),
        ("..", "is a folder"),
    ],
)
def test_places_that_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match=message):
        AtomicFile(name)
    assert names(tmp_path) == ["file"]


def test_check_changes_nothing(tmp_path: Path) -> None:
    target = check_target(tmp_path / "vm.img")
    assert (target.folder, target.name, target.replaced) == (tmp_path, "vm.img", None)
    assert names(tmp_path) == []


@pytest.mark.parametrize("verb", [qmig.salvage, partial(qmig.extract, format="raw")])
def test_what_is_read_is_not_replaced(
    verb: Callable[..., object], capture_files: CaptureFiles, tmp_path: Path
) -> None:
    (stream,) = capture_files("qemu-10.0-ordinary")
    own = tmp_path / "own"
    own.write_bytes(stream.read_bytes())
    (tmp_path / "link").symlink_to(own)
    for out in (own, tmp_path / "link"):
        with pytest.raises(qmig.WriterError, match="is one of the files to read"):
            verb(own, out=out, force=True)
    assert own.read_bytes() == stream.read_bytes()
