"""A stream in a file or device that was written over: the end of an older one stands behind it."""

from pathlib import Path

import pytest

import qmig
from tests.conftest import CaptureFiles

OTHER_PAGE_SIZE = "qemu-10.0-alpha-stopped"  # 8 KiB pages, which its vmdescription tells


def written_over(over: bytes, old: bytes, path: Path) -> Path:
    """Write a stream over an older one whose end it leaves there."""
    path.write_bytes(over + bytes(4096) + old[len(old) // 2 :])
    return path


@pytest.mark.parametrize(
    "name", ["qemu-10.0-8m", "qemu-10.0-mapped-plain", "qemu-5.2-ordinary", "qemu-10.0-avr-stopped"]
)
def test_what_an_older_stream_left_behind_tells_nothing_of_this_one(
    name: str, capture_files: CaptureFiles, tmp_path: Path
) -> None:
    (own,) = capture_files(name)
    (old,) = capture_files(OTHER_PAGE_SIZE)
    path = written_over(own.read_bytes(), old.read_bytes(), tmp_path / "disk")
    with qmig.open_capture(own) as alone, qmig.open_capture(path) as capture:
        assert capture.errors == []
        assert capture.page_size == alone.page_size
        for block, view in alone.ram.items():
            length = view.used_length
            assert capture.ram[block].read(0, length) == view.read(0, length)
        assert capture.stream.eof_offset == alone.stream.eof_offset
        assert capture.stream.trailing is not None
        extents = [row.extent for row in capture.stream.sections.rows]
        assert extents == [row.extent for row in alone.stream.sections.rows]
    verdict = qmig.validate(path)
    assert verdict.sound, [str(finding) for finding in verdict.findings]


def test_a_damaged_stream_keeps_its_own_description(
    capture_files: CaptureFiles, tmp_path: Path
) -> None:
    (own,) = capture_files(OTHER_PAGE_SIZE)
    data = bytearray(own.read_bytes())
    with qmig.open_capture(own) as alone:
        last = alone.stream.sections.rows[-1]
    data[last.offset + last.length - 1] ^= 0xFF  # in the footer of the last section
    path = tmp_path / "damaged"
    path.write_bytes(data)
    with qmig.open_capture(path) as capture:
        assert capture.errors
        assert capture.page_size is not None
        assert capture.page_size.length == 8192
