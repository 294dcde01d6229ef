"""Sources of bytes: files, pipes, what they keep, and the cursor that reads them."""

import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmig.capture import forward_source as forward_module
from qmig.capture.forward_source import ForwardSource, iter_file
from qmig.capture.source import Cursor, FileSource
from qmig.errors import MalformedStreamError, SourceError, StreamError, TruncatedStreamError
from tests.sources import BytesSource, forward_source

DATA = bytes(byte ^ page for page in range(40) for byte in range(256))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "vm.sav"
    file.write_bytes(DATA)
    return file


def test_a_file_is_read_anywhere(path: Path) -> None:
    with FileSource(path) as source:
        assert source.end() == len(DATA)
        assert source.seekable
        assert source.read_at(0, 10) == DATA[:10]
        assert source.read_at(len(DATA) - 3, 10) == DATA[-3:]
        assert source.read_at(len(DATA), 1) == b""
        assert source.read_at(len(DATA) + 1000, 1) == b""
        data, base = source.span(5000)
        assert bytes(data[5000 - base : 5100 - base]) == DATA[5000:5100]
        source.release(8192)
        assert source.read_at(0, 10) == DATA[:10]
        data, base = source.span(0)
        assert bytes(data[: len(DATA)]) == DATA


def test_an_empty_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    with FileSource(tmp_path / "empty") as source:
        assert source.end() == 0
        assert source.read_at(0, 1) == b""
        data, _ = source.span(0)
        assert len(data) == 0
        assert Cursor(source).at_end()


def test_holes_are_passed_over(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.seek(1 << 20)
        file.write(b"x" * 4096)
        file.truncate(3 << 20)
    with FileSource(tmp_path / "sparse") as source:
        assert source.next_data(0) in (0, 1 << 20)  # 0 where the file system has no holes
        assert source.next_data(1 << 20) == 1 << 20
        assert source.next_data((3 << 20) + 5) == 3 << 20


@pytest.mark.parametrize("kind", ["missing", "folder", "fifo", "socket", "device", "nul"])
def test_what_is_no_file_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    target = tmp_path / kind
    server = socket.socket(socket.AF_UNIX)
    if kind == "folder":
        target.mkdir()
    elif kind == "fifo":
        os.mkfifo(target)
    elif kind == "socket":
        server.bind(str(target))
    elif kind == "device":
        target = Path("/dev/null")
    name = "a\0b" if kind == "nul" else str(target)
    with server, pytest.raises(SourceError) as caught:
        FileSource(name)
    shown = name.replace("\0", r"\x00")
    assert str(caught.value).startswith(f"{shown}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("piece_len", [1, 7, 256, 100_000])
def test_a_pipe_is_read_once_and_looked_back_at_until_released(piece_len: int) -> None:
    source = forward_source(DATA, piece_len)
    assert not source.seekable
    assert source.end() is None
    assert source.read_at(100, 50) == DATA[100:150]
    assert source.read_at(0, 50) == DATA[:50]
    source.release(100)
    assert source.read_at(100, 5) == DATA[100:105]
    with pytest.raises(SourceError, match="0x00000063 has gone by"):
        source.read_at(99, 1)
    assert source.read_at(len(DATA) - 5, 100) == DATA[-5:]
    assert source.end() == len(DATA)
    source.release(len(DATA) + 100)
    assert source.read_at(len(DATA), 1) == b""
    source.close()


def test_a_pipe_that_keeps_all_is_seekable() -> None:
    with forward_source(DATA, 100, keep_all=True) as source:
        assert source.seekable
        source.release(len(DATA))
        assert source.read_at(0, len(DATA)) == DATA


def test_what_failed_ends_the_data_and_is_kept() -> None:
    error = MalformedStreamError(offset=7, record="gzip data", expected="x", found="y")

    def pieces() -> Iterator[bytes]:
        yield b"abc"
        raise error

    with ForwardSource(pieces(), name="vm.gz") as source:
        assert source.read_at(0, 100) == b"abc"
        assert source.end() == 3
        assert source.failure is error
        cursor = Cursor(source, 1)
        with pytest.raises(MalformedStreamError) as caught:
            cursor.read_exact(3, what="it")
        assert caught.value is error
        assert cursor.offset == 1


@given(
    steps=st.lists(
        st.tuples(st.sampled_from("rk"), st.integers(0, 3000), st.integers(0, 900)), max_size=30
    ),
    limit=st.sampled_from([0, 100, 1000, 1 << 20]),
    zeros=st.integers(0, 2000),
)
def test_kept_bytes_move_to_a_file_and_stay_the_same(
    steps: list[tuple[str, int, int]], limit: int, zeros: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forward_module, "RETAINED_IN_MEMORY_LEN", limit)
    data = DATA[:500] + bytes(zeros) + DATA[500:2000]
    source = forward_source(data, 64)
    released = 0
    for step, offset, length in steps:
        if step == "k":
            source.release(offset)
            released = max(released, min(offset, len(data)))
        elif offset < released:
            with pytest.raises(SourceError):
                source.read_at(offset, length)
        else:
            assert source.read_at(offset, length) == data[offset : offset + length]
    source.close()


def test_no_place_for_a_temporary_file_is_an_error_of_ours(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(forward_module, "RETAINED_IN_MEMORY_LEN", 10)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with (
        ForwardSource(iter([bytes(20)] * 3), name="pipe", keep_all=True) as source,
        pytest.raises(SourceError, match="TMPDIR"),
    ):
        source.read_at(0, 60)


def test_a_pipe_that_cannot_be_read_is_an_error_of_ours(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as written, pytest.raises(SourceError, match="standard"):
        next(iter_file(written))


def test_long_zeros_in_a_kept_pipe_become_holes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward_module, "RETAINED_IN_MEMORY_LEN", 1000)
    pieces = [b"head" * 1000, *([bytes(1 << 20)] * 64), b"tail"]
    with ForwardSource(iter(pieces), name="pipe", keep_all=True) as source:
        end = 4000 + (64 << 20) + 4
        assert source.read_at(end - 8, 100) == bytes(4) + b"tail"
        assert source.read_at(0, 4002) == b"head" * 1000 + b"\0\0"
        file = source._keep._file
        assert file is not None
        assert os.fstat(file.fileno()).st_blocks * 512 < 1 << 20


def test_a_cursor_reads_in_order_and_says_what_is_missing() -> None:
    cursor = Cursor(BytesSource(DATA, name="vm.sav"), 10)
    assert cursor.peek(3) == DATA[10:13]
    assert cursor.read_exact(3, what="it") == DATA[10:13]
    cursor.skip(len(DATA) - 15, what="it")
    assert cursor.offset == len(DATA) - 2
    for read in (cursor.read_exact, cursor.skip):
        with pytest.raises(TruncatedStreamError) as caught:
            read(3, what="record", field="body")
        error = caught.value
        assert (error.path, error.offset) == ("vm.sav", len(DATA) - 2)
        assert (error.record, error.field) == ("record", "body")
        assert (error.wanted_len, error.available_len) == (3, 2)
        assert cursor.offset == len(DATA) - 2
    cursor.skip(2, what="it")
    assert cursor.at_end()


def test_a_cursor_ends_at_its_limit() -> None:
    cursor = Cursor(BytesSource(DATA), 0, limit=5)
    assert cursor.peek(100) == DATA[:5]
    with pytest.raises(TruncatedStreamError):
        cursor.skip(6, what="it")
    assert cursor.read_exact(5, what="it") == DATA[:5]
    assert cursor.at_end()
    assert cursor.peek(1) == b""


@pytest.mark.parametrize("piece_len", [10, 4096])
def test_a_cursor_skips_through_a_pipe(piece_len: int) -> None:
    cursor = Cursor(forward_source(DATA, piece_len))
    cursor.skip(9000, what="it")
    assert cursor.read_exact(5, what="it") == DATA[9000:9005]
    with pytest.raises(StreamError):
        cursor.skip(10_000, what="it")


def test_skipping_far_through_a_pipe_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    pieces = (bytes([number]) * (1 << 20) for number in range(100))
    source = ForwardSource(pieces, name="pipe")
    cursor = Cursor(source)
    kept = 0

    def note(data: bytes, *, append: Callable[[bytes], None] = source._keep.append) -> None:
        nonlocal kept
        append(data)
        kept = max(kept, source._keep.end - source._keep.start)

    monkeypatch.setattr(source._keep, "append", note)
    cursor.skip(90 << 20, what="pages")
    assert cursor.read_exact(1, what="it") == bytes([90])
    assert kept <= 3 << 20


def test_what_a_real_pipe_gives_is_read(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    with os.fdopen(read_end, "rb") as reader:
        os.write(write_end, b"some")
        pieces = iter_file(reader)
        assert next(pieces) == b"some"
        os.write(write_end, b"more")
        os.close(write_end)
        assert list(pieces) == [b"more"]
