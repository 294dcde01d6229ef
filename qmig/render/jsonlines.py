"""Every record of a capture as one line of JSON, as it is read: constant memory.

The lines of one file and layer tile it: each begins where the one before ends. Layer 0 is the
file; in a compressed file, the layer with the number of decompressors is the data that they give.
Runs of page records of one kind are one line.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from qmig._version import __version__
from qmig.capture.channel import ChannelWalk, Packet
from qmig.capture.preempt import PreemptWalk
from qmig.capture.records import PageBatch, Record
from qmig.capture.survey import resumed_walk
from qmig.errors import TruncatedStreamError
from qmig.memory import PageKind
from qmig.render.report import error_object
from qmig.render.words import pure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from qmig.capture.capture import Capture
    from qmig.capture.container import Container
    from qmig.capture.stream import StreamWalk
    from qmig.errors import StreamError
    from qmig.memory import PageRun, RamBlock
    from qmig.render.document import Document

    Line = dict[str, Any]
    Progress = Callable[[Container, int], None]

SCHEMA: Final = "qmig.inspect-lines/1"
_KINDS: Final = {int(kind): kind.name.lower() for kind in PageKind}
_ZERO_KINDS: Final = (PageKind.ZERO, PageKind.FILL)
_NAMES: Final = frozenset({"idstr", "name", "ramblock", "block", "section", "block_name"})
_MOST_BYTES: Final = 64


class RecordLines:
    """Makes the lines of a capture; iterate over it once.

    Args:
        capture: an open capture, which was not surveyed.
        progress: called with a file and the offset in its stream that was reached.

    Attributes:
        errors: what kept files from being read to their ends, once the lines were made.
    """

    def __init__(self, capture: Capture, progress: Progress) -> None:
        self.errors: list[StreamError] = []
        self._capture = capture
        self._progress = progress
        self._walk: StreamWalk | None = None

    def __iter__(self) -> Iterator[str]:
        for line in self._lines():
            yield json.dumps(line)

    def _lines(self) -> Iterator[Line]:
        capture = self._capture
        files = [{"path": pure(c.path), "role": c.role.value} for c in capture.files]
        yield {"schema": SCHEMA, "qmig_version": __version__, "files": files}
        if capture.main is not None:
            self._walk = capture.new_walk()
            yield from self._stream(capture.main, self._walk, resumed=bool(capture.recovery_files))
            yield from self._others(self._walk)
        else:
            for container in (*capture.recovery_files, *capture.preempt_files):
                yield from self._unread(container)
        for container in capture.channel_files:
            yield from self._channel(container)

    def _others(self, before: StreamWalk) -> Iterator[Line]:
        """Yield the lines of further connections of a postcopy migration."""
        recovery = self._capture.recovery_files
        for container in recovery:
            before = resumed_walk(container, before)
            yield from self._stream(container, before, resumed=container is not recovery[-1])
        for container in self._capture.preempt_files:
            walk = PreemptWalk(container.source, container.stream_offset, before)
            lines = _record_lines(walk.records(), before)
            yield from self._file(container, lines)
            yield from self._errors(container, walk.error)

    def _stream(self, container: Container, walk: StreamWalk, *, resumed: bool) -> Iterator[Line]:
        # The block list grows while the walk goes on, and names the pages' blocks.
        yield from self._file(container, _record_lines(walk.records(), walk))
        # A connection that broke and was resumed by another one may end inside a record.
        if not (resumed and isinstance(walk.error, TruncatedStreamError)):
            yield from self._errors(container, walk.error)

    def _channel(self, container: Container) -> Iterator[Line]:
        size = self._walk.page_size if self._walk else None
        walk = ChannelWalk(
            container.source,
            container.stream_offset,
            page_size_len=size.length if size else self._capture.given_page_size_len,
        )
        yield from self._file(container, _channel_lines(walk))
        yield from self._errors(container, walk.error)

    def _unread(self, container: Container) -> Iterator[Line]:
        """Yield the one line of a file that has no meaning without a main stream."""
        end = container.source.end() or 0
        start = container.stream_offset
        note = "it has no meaning without the main stream"
        lines = [_line(start, end - start, "not read", {"reason": note})] if end > start else []
        yield from self._file(container, lines)

    # -- layers -----------------------------------------------------------------------------------

    def _file(self, container: Container, lines: Iterable[Line]) -> Iterator[Line]:
        """Yield the lines of a file: its wrapping, then the stream in it."""
        path = pure(container.path)
        codecs = _codecs(container)
        wrapping = _outer_codecs(container)
        inner = len(codecs)

        def placed(layer: int, line: Line) -> Line:
            return {"file": path, "layer": layer, **line}

        front = container.spans[0].offset if container.spans else container.stream_offset
        if front and wrapping == 0 and (container.spans or not inner):  # skipped by --offset
            yield placed(0, _line(0, front, "bytes in front", {}))
        behind = 0
        for span in container.spans:
            yield placed(wrapping, _line(span.offset, span.length, span.record, {}))
            behind = span.offset + span.length
        for line in lines:
            yield placed(inner, line)
            self._progress(container, line["offset"] + line["length"])
        if inner:
            start = behind if wrapping == 0 else 0
            end = container.outer.end()
            if end is not None and end > start:
                name = f"{codecs[0]} data"
                yield placed(0, _line(start, end - start, name, {}))

    def _errors(self, container: Container, error: StreamError | None) -> Iterator[Line]:
        if error is not None:
            self.errors.append(error)
            yield {"file": pure(container.path), "error": error_object(error)}


def _codecs(container: Container) -> list[str]:
    """Return the names of the decompressors, from the outside."""
    return [name for name in container.layers if _is_codec(name)]


def _outer_codecs(container: Container) -> int:
    """Return how many decompressors lie outside of the wrapping that has records."""
    count = 0
    for name in container.layers:
        if not _is_codec(name):
            return count
        count += 1
    return count


def _is_codec(layer: str) -> bool:
    return layer != "libvirt" and not layer.endswith("in front")


# -- records --------------------------------------------------------------------------------------


def _line(offset: int, length: int, record: str, fields: Document) -> Line:
    return {"offset": offset, "length": length, "record": record, **fields}


def _record_lines(items: Iterable[Record | PageBatch], blocks_of: StreamWalk) -> Iterator[Line]:
    for item in items:
        if isinstance(item, PageBatch):
            yield from _page_lines(item, blocks_of.blocks)
        else:
            yield _line(item.offset, item.length, item.name, _fields(item))


def _page_lines(batch: PageBatch, blocks: Sequence[RamBlock]) -> Iterator[Line]:
    start = batch.offset
    for run in batch.runs:
        end = _end_of(run)
        yield {
            "offset": start,
            "length": end - start,
            "record": "RAM pages",
            "kind": _KINDS[run.kind],
            "block": pure(blocks[run.block].name),
            "first_page": run.first_page,
            "pages": run.count,
            "data_offset": run.data_offset,
            "stride": run.stride_len,
            "data_length": run.payload_len,
        }
        start = end


def _end_of(run: PageRun) -> int:
    """Return the offset behind the last record of a run."""
    payload_len = 1 if run.kind in _ZERO_KINDS else run.payload_len
    return run.data_offset + (run.count - 1) * run.stride_len + payload_len


def _channel_lines(walk: ChannelWalk) -> Iterator[Line]:
    """Yield the lines of a channel; those of a packet have its index, and its pages as runs."""
    waiting: list[Line] = []
    for item in walk.items():
        if isinstance(item, Packet):
            for line in waiting:
                line["packet"] = item.index
                if line["record"] == "multifd packet offsets":
                    line["normal"] = _page_runs(item.normal_pages, walk.page_size_len)
                    line["zero"] = _page_runs(item.zero_pages, walk.page_size_len)
            yield from waiting
            waiting = []
        else:
            fields = {} if item.name == "multifd packet offsets" else _fields(item)
            waiting.append(_line(item.offset, item.length, item.name, fields))
            if item.name in ("multifd initial packet", "not read"):
                yield from waiting
                waiting = []
    yield from waiting


def _page_runs(addrs: Sequence[int], page_size_len: int | None) -> list[Document]:
    size = page_size_len or 1
    runs: list[Document] = []
    for addr in addrs:
        last = runs[-1] if runs else None
        if last is not None and addr == (last["first_page"] + last["pages"]) * size:
            last["pages"] += 1
        else:
            runs.append({"first_page": addr // size, "pages": 1})
    return runs


def _fields(record: Record) -> Document:
    """Return the fields of the wire record, and what else is known of it."""
    wire = record.wire.as_dict() if record.wire is not None else {}
    fields = {name: _value(name, value) for name, value in wire.items()}
    for name, value in record.detail.items():
        fields.setdefault(name, _value(name, value))
    # The names that each line has are not a record's to give.
    return {
        f"field_{name}" if name in ("offset", "length", "record") else name: value
        for name, value in fields.items()
    }


def _value(name: str, value: Any) -> Any:  # noqa: ANN401  # any field of any record
    if isinstance(value, bytes):
        if name in _NAMES:
            return pure(value.split(b"\0", 1)[0].decode("utf-8", "surrogateescape"))
        if not value.strip(b"\0"):
            return {"zeros": len(value)}
        if len(value) <= _MOST_BYTES:
            return {"hex": value.hex()}
        return {"length": len(value)}
    if isinstance(value, str):
        return pure(value)
    if isinstance(value, list | tuple):
        return [_value("", item) for item in value]
    if isinstance(value, bool | int) or value is None:
        return value
    return pure(str(value))
