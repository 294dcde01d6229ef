"""Damage inside compressed data: what came before it may be wrong, and the report says so."""

import gzip
from pathlib import Path

from qmig.salvaging import salvage
from tests.conftest import CaptureFiles

REASON = "bytes in front of the place that was noticed may be wrong as well"


def reasons(path: Path, out: Path) -> str:
    return " ".join(salvage(path, out=out, force=True).found.reasons)


def test_a_wrong_byte_is_told_and_a_cut_is_no_wrong_byte(
    capture_files: CaptureFiles, tmp_path: Path
) -> None:
    (stream,) = capture_files("qemu-10.0-ordinary")
    packed = gzip.compress(stream.read_bytes(), mtime=0)
    path, out = tmp_path / "vm.gz", tmp_path / "out"
    wrong = bytearray(packed)
    wrong[-6] ^= 1  # in the checksum: all bytes were right, which nothing can tell
    path.write_bytes(wrong)
    done = salvage(path, out=out)
    assert any(REASON in reason for reason in done.found.reasons)
    assert done.found.missing == []
    assert sum(pages.unknown_pages for pages in done.found.maps) == 0
    path.write_bytes(packed[:-100])
    assert REASON not in reasons(path, out)
    path.write_bytes(packed)
    assert reasons(path, out) == ""
