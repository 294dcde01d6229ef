"""The fixtures as tests use them: by name, unpacked once a session, walked file by file."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

from fixtures.catalogue import Fixture, load_manifest, unpack
from qmig.capture.capture import Capture
from qmig.capture.channel import ChannelWalk, Packet
from qmig.capture.container import Container, Role
from qmig.capture.preempt import PreemptWalk
from qmig.capture.ram import PageRecordReader
from qmig.capture.records import PageBatch, Record
from qmig.capture.source import Cursor
from qmig.capture.stream import StreamWalk

FIXTURES: Final[Mapping[str, Fixture]] = load_manifest()

each_fixture = pytest.mark.parametrize("name", FIXTURES)

Item = Record | PageBatch | Packet


class Corpus:
    """The unpacked files of all fixtures, in one folder.

    Args:
        directory: where they are written.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._unpacked: dict[str, list[Path]] = {}

    def files(self, name: str) -> list[Path]:
        """Return the files of a fixture in the manifest's order; they must not be changed."""
        if name not in self._unpacked:
            self._unpacked[name] = unpack(FIXTURES[name], self.directory)
        return list(self._unpacked[name])


def streams(
    capture: Capture, *, careful: bool = False
) -> Iterator[tuple[Container, Iterator[Item]]]:
    """Yield each file of a capture with a new walk over all its bytes.

    Args:
        capture: an open capture.
        careful: read each page record through its schema.
    """
    before: StreamWalk | None = None
    for container in capture.files:
        if container.role in (Role.MAIN, Role.RECOVERY):
            walk = StreamWalk(
                container.source,
                container.stream_offset,
                page_size_len=capture.given_page_size_len,
                careful=careful,
                resumes=before,
                description_end=container.description_end,
            )
            yield container, walk.records()
            before = walk
        elif container.role is Role.CHANNEL:
            yield container, _channel_items(capture, container)
        elif careful:
            size = capture.page_size
            reader = PageRecordReader(capture.blocks, size.length if size else 0, mapped=False)
            cursor = Cursor(container.source, container.stream_offset)
            yield container, reader.read(cursor, careful=True, bare=True)
        else:
            preempt = PreemptWalk(container.source, container.stream_offset, capture.stream)
            yield container, preempt.records()


def _channel_items(capture: Capture, container: Container) -> Iterator[Item]:
    size = capture.page_size
    yield from ChannelWalk(
        container.source,
        container.stream_offset,
        page_size_len=size.length if size else None,
    ).items()
