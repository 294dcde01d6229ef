"""Files that are there as a whole or not at all."""

import array
import contextlib
import errno
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qmig.errors import OutputError, OutputRefusedError
from qmig.migrate import output
from qmig.migrate.draft import Draft
from qmig.migrate.output import AtomicFile

OLD = b"what was there"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(params=["anonymous", "named"])
def anonymous(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "anonymous")


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


def test_file_appears_with_commit_and_not_before(tmp_path: Path, anonymous: bool) -> None:
    out = tmp_path / "vm.img"
    with AtomicFile(out, anonymous=anonymous) as file:
        file.append(b"head")
        file.pwrite(b"page", 8192)
        assert not out.exists()
        assert len(names(tmp_path)) == (0 if anonymous else 1)
        file.commit()
        assert file.committed
    assert out.read_bytes() == b"head" + bytes(8188) + b"page"
    assert names(tmp_path) == ["vm.img"]


def test_leaving_without_commit_leaves_nothing(tmp_path: Path, anonymous: bool) -> None:
    with AtomicFile(tmp_path / "vm.img", anonymous=anonymous) as file:
        file.append(b"head")
    assert not file.committed
    assert names(tmp_path) == []
    with pytest.raises(OutputError, match="was given up"):
        file.append(b"more")
    with pytest.raises(OutputError, match="was given up"):
        file.commit()


def test_exception_leaves_what_was_there(tmp_path: Path, anonymous: bool) -> None:
    out = tmp_path / "vm.img"
    out.write_bytes(OLD)
    inode = out.stat().st_ino
    with (
        pytest.raises(KeyboardInterrupt),
        AtomicFile(out, force=True, anonymous=anonymous) as file,
    ):
        file.append(b"new")
        raise KeyboardInterrupt
    assert out.read_bytes() == OLD
    assert out.stat().st_ino == inode
    assert names(tmp_path) == ["vm.img"]


def test_force_replaces(tmp_path: Path, anonymous: bool) -> None:
    out = tmp_path / "vm.img"
    out.write_bytes(OLD)
    with AtomicFile(out, force=True, anonymous=anonymous) as file:
        file.append(b"new")
        file.commit()
    assert out.read_bytes() == b"new"
    assert names(tmp_path) == ["vm.img"]


def test_file_that_appears_meanwhile_is_not_overwritten(tmp_path: Path, anonymous: bool) -> None:
    out = tmp_path / "vm.img"
    with AtomicFile(out, anonymous=anonymous) as file:
        file.append(b"new")
        out.write_bytes(OLD)
        with pytest.raises(OutputRefusedError, match=r"vm\.img: was made by someone else"):
            file.commit()
        assert not file.committed
    assert out.read_bytes() == OLD
    assert names(tmp_path) == ["vm.img"]


def refuse_links(monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*arguments: object, **options: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", link)


def test_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_links(monkeypatch)
    out = tmp_path / "vm.img"
    with AtomicFile(out, anonymous=False) as file:
        file.append(b"new")
        file.commit()
    assert out.read_bytes() == b"new"
    with pytest.raises(OutputRefusedError), AtomicFile(tmp_path / "b", anonymous=False) as file:
        (tmp_path / "b").write_bytes(OLD)
        file.commit()
    assert (tmp_path / "b").read_bytes() == OLD
    assert names(tmp_path) == ["b", "vm.img"]


def test_without_hard_links_a_failed_rename_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def replace(*arguments: object, **options: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    refuse_links(monkeypatch)
    monkeypatch.setattr(os, "replace", replace)
    with (
        pytest.raises(OutputError, match="cannot put it in its place: Input/output error"),
        AtomicFile(tmp_path / "vm.img", anonymous=False) as file,
    ):
        file.commit()
    assert names(tmp_path) == []


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EISDIR])
def test_file_system_without_nameless_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    real = os.open

    def refuse(path: str | Path, flags: int, *arguments: int, **options: int) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(number, os.strerror(number))
        return real(path, flags, *arguments, **options)

    monkeypatch.setattr(os, "open", refuse)
    with AtomicFile(tmp_path / "vm.img") as file:
        (name,) = names(tmp_path)
        assert name.startswith(".vm.img.qmig-")
        file.append(b"new")
        file.commit()
    assert names(tmp_path) == ["vm.img"]


def test_longest_name_has_room_for_the_unfinished_one(tmp_path: Path) -> None:
    out = tmp_path / ("\u00e9" * 127 + "x")  # 255 bytes
    out.write_bytes(OLD)
    with AtomicFile(out, force=True, anonymous=False) as file:
        file.append(b"new")
        file.commit()
    assert out.read_bytes() == b"new"


def test_mode_of_a_new_file_is_that_of_any_new_file(
    tmp_path: Path, umask: None, anonymous: bool
) -> None:
    with AtomicFile(tmp_path / "vm.img", anonymous=anonymous) as file:
        file.commit()
    assert stat.S_IMODE((tmp_path / "vm.img").stat().st_mode) == 0o640


def test_mode_and_owner_of_the_replaced_file_stay(tmp_path: Path, anonymous: bool) -> None:
    out = tmp_path / "vm.img"
    out.write_bytes(OLD)
    out.chmod(0o604)
    if os.geteuid() == 0:
        os.chown(out, 12345, 23456)
    before = out.stat()
    with AtomicFile(out, force=True, anonymous=anonymous) as file:
        if not anonymous:
            (unfinished,) = (path for path in tmp_path.iterdir() if path != out)
            assert stat.S_IMODE(unfinished.stat().st_mode) == 0o604
        file.commit()
    after = out.stat()
    assert after.st_ino != before.st_ino
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
    )


def test_symbolic_link_stands_for_its_file(tmp_path: Path, anonymous: bool) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "links").mkdir()
    link = tmp_path / "links" / "vm.img"
    link.symlink_to("../store/real.img")
    with AtomicFile(link, anonymous=anonymous) as file:  # the link leads nowhere yet
        file.append(b"first")
        file.commit()
    with AtomicFile(link, force=True, anonymous=anonymous) as file:
        file.append(b"second")
        file.commit()
    assert link.is_symlink()
    assert (tmp_path / "store" / "real.img").read_bytes() == b"second"
    assert names(tmp_path / "store") == ["real.img"]
    assert names(tmp_path / "links") == ["vm.img"]


def test_relative_path_is_that_of_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    with AtomicFile("vm.img", force=True, anonymous=False) as file:
        monkeypatch.chdir(tmp_path)
        file.commit()
    assert names(tmp_path) == ["a"]
    assert names(tmp_path / "a") == ["vm.img"]


def test_any_buffer_is_written_as_its_bytes(tmp_path: Path) -> None:
    words = np.arange(12, dtype=">u8").reshape(3, 4)
    buffers: list[Any] = [
        b"bytes",
        bytearray(b"bytearray"),
        memoryview(b"memoryview")[::2],
        array.array("H", [1, 2, 3]),
        words,
        words[:, ::2],
        np.asfortranarray(words),
        np.zeros((0, 4096), np.uint8),
        words.view([("low", ">u4"), ("high", ">u4")]),
    ]
    expected = [memoryview(data).tobytes() for data in buffers]
    with AtomicFile(tmp_path / "a") as file:
        for data in buffers:
            file.append(data)
        assert file.position == sum(map(len, expected))
        for index, data in enumerate(buffers):
            file.pwrite(data, 1000 * (index + 1))
        assert file.position == sum(map(len, expected))
        file.commit()
    found = (tmp_path / "a").read_bytes()
    assert found.startswith(b"".join(expected))
    for index, data in enumerate(expected):
        assert found[1000 * (index + 1) :].startswith(data)


def test_short_writes_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwrite
    taken: list[int] = []

    def pwrite(fd: int, data: memoryview, offset: int) -> int:
        taken.append(real(fd, data[:1000], offset))
        return taken[-1]

    monkeypatch.setattr(os, "pwrite", pwrite)
    data = np.random.default_rng(1).bytes(12_345)
    with AtomicFile(tmp_path / "a") as file:
        file.pwrite(data, 77)
        file.commit()
    assert (tmp_path / "a").read_bytes() == bytes(77) + data
    assert taken == [1000] * 12 + [345]


def test_kernel_that_takes_nothing_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: 0)
    with (
        AtomicFile(tmp_path / "a") as file,
        pytest.raises(OutputError, match="takes no bytes"),
    ):
        file.pwrite(b"x", 0)


def test_reserved_length_is_a_hole(tmp_path: Path) -> None:
    with AtomicFile(tmp_path / "a") as file:
        file.reserve(1 << 40)
        file.reserve(1 << 20)  # never shorter
        file.pwrite(b"x", (1 << 30) - 1)
        file.skip_to(1 << 35)
        file.append(b"y")
        assert file.position == (1 << 35) + 1
        file.commit()
    status = (tmp_path / "a").stat()
    assert status.st_size == 1 << 40
    assert status.st_blocks * 512 <= 1 << 20


def test_threads_write_at_once(tmp_path: Path) -> None:
    threads, pieces, piece_len = 8, 64, 4096 + 13
    expected = np.random.default_rng(2).integers(0, 256, (pieces, threads, piece_len), np.uint8)
    appended: list[bytes] = [bytes([index]) * 999 for index in range(threads)]
    area = 1 << 20

    def write(index: int) -> None:
        for piece in range(pieces):
            at = area + (piece * threads + index) * piece_len
            file.pwrite(expected[piece, index], at)
            file.append(appended[index])

    with AtomicFile(tmp_path / "a") as file:
        workers = [threading.Thread(target=write, args=(i,), daemon=True) for i in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        file.commit()
    data = (tmp_path / "a").read_bytes()
    assert data[area:] == expected.tobytes()
    parts = [data[at : at + 999] for at in range(0, threads * pieces * 999, 999)]
    assert sorted(parts) == sorted(appended * pieces)


def test_giving_up_waits_for_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write under way keeps its descriptor until it ends: its number must not be used again."""
    real, inside, go_on = os.pwrite, threading.Event(), threading.Event()
    failures: list[Exception] = []

    def pwrite(fd: int, data: memoryview, offset: int) -> int:
        inside.set()
        assert go_on.wait(10)
        return real(fd, data, offset)

    def write() -> None:
        try:
            file.pwrite(b"late", 0)
            file.pwrite(b"later", 0)
        except OutputError as error:
            failures.append(error)

    monkeypatch.setattr(os, "pwrite", pwrite)
    file = AtomicFile(tmp_path / "a", anonymous=False)
    fd = file.draft.fd
    worker = threading.Thread(target=write, daemon=True)
    worker.start()
    assert inside.wait(10)
    with pytest.raises(RuntimeError, match="a thread writes"):
        file.commit()
    file.discard()
    assert names(tmp_path) == []
    reused = os.open(tmp_path, os.O_RDONLY)
    assert reused != fd
    os.close(reused)
    go_on.set()
    worker.join(10)
    assert [str(error) for error in failures] == [f"{tmp_path / 'a'}: was given up"]
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_signal_while_giving_up_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Draft.remove
    stops = [KeyboardInterrupt()]

    def stop_once(draft: Draft) -> None:
        if stops:
            raise stops.pop()
        real(draft)

    monkeypatch.setattr(Draft, "remove", stop_once)
    with pytest.raises(KeyboardInterrupt), AtomicFile(tmp_path / "a", anonymous=False) as file:
        file.append(b"x")
    assert names(tmp_path) == []


def test_signal_before_anything_holds_it_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[list[str]] = []

    def interrupted(fd: int) -> None:
        made.append(names(tmp_path))
        os.close(fd)
        raise KeyboardInterrupt

    monkeypatch.setattr(output, "SharedDescriptor", interrupted)
    with contextlib.suppress(KeyboardInterrupt):
        AtomicFile(tmp_path / "vm.img", anonymous=False)
    assert [len(there) for there in made] == [1]
    assert names(tmp_path) == []


def test_signal_before_the_with_leaves_nothing(tmp_path: Path) -> None:
    file = AtomicFile(tmp_path / "vm.img", anonymous=False)
    assert len(names(tmp_path)) == 1
    del file
    assert names(tmp_path) == []


def test_unfinished_file_is_never_more_open_than_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anonymous: bool
) -> None:
    out = tmp_path / "vm.img"
    out.write_bytes(OLD)
    out.chmod(0o600)
    modes = []
    real = os.fchmod

    def fchmod(fd: int, mode: int) -> None:
        modes.append(stat.S_IMODE(os.fstat(fd).st_mode))
        real(fd, mode)

    monkeypatch.setattr(os, "fchmod", fchmod)
    with AtomicFile(out, force=True, anonymous=anonymous):
        assert modes == [0o600]


def test_many_buffers_are_written_in_a_row_whatever_the_kernel_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    buffers = [bytes([number % 251]) * (number % 7) for number in range(3000)]
    whole = b"".join(buffers)
    plain = os.pwritev

    def writes_little(fd: int, some: list[bytes], offset: int) -> int:
        return plain(fd, [b"".join(some)[:1500]], offset)

    for name, call in (("all", plain), ("little", writes_little)):
        monkeypatch.setattr(os, "pwritev", call)
        with AtomicFile(tmp_path / name, durable=False) as out:
            out.pwritev(buffers, 10)
            out.commit()
        assert (tmp_path / name).read_bytes() == bytes(10) + whole
