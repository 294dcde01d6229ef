"""Files, streams and devices as outputs."""

from pathlib import Path

import pytest

from qmig.errors import OutputRefusedError, WriterError
from qmig.migrate.open_output import open_output
from qmig.migrate.output import AtomicFile
from qmig.migrate.stream_output import StreamOutput


def test_open_output_tells_files_from_streams(tmp_path: Path) -> None:
    with open_output(tmp_path / "vm.img", allow_stream=True) as file:
        assert isinstance(file, AtomicFile)
    with open_output("/dev/null", allow_stream=True) as stream:
        assert isinstance(stream, StreamOutput)
        stream.append(b"x")
        stream.commit()
    for path in ("/dev/null", "-"):
        with pytest.raises(OutputRefusedError, match="only goes forwards"):
            open_output(path)


def test_block_device_wants_force(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "is_block_device", lambda path: True)
    with pytest.raises(OutputRefusedError, match="is a block device; --force"):
        open_output("/dev/null", allow_stream=True)
    with open_output("/dev/null", allow_stream=True, force=True) as stream:
        stream.append(b"x")


def test_stream_writes_only_at_its_position() -> None:
    with StreamOutput("/dev/null") as stream:
        stream.pwrite(b"1234", 0)
        stream.pwrite(b"5678", 4)
        with pytest.raises(WriterError, match="0x00000000 of an output that only goes forwards"):
            stream.pwrite(b"x", 0)
        assert stream.position == 8
