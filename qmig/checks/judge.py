"""One pass over a capture with all checks, going on behind damage where the format allows it.

The pass is a survey as well: when it is done, `Capture.survey` holds what it found, so that no
check and no report needs another one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qmig.capture.channel import ChannelWalk, Packet
from qmig.capture.multifd import adjacent
from qmig.capture.records import NOT_READ, PageBatch, Record
from qmig.capture.run_state import BODY_LEN, SECTION_NAME, parse_run_state
from qmig.capture.survey import Channel, Survey, resumed_walk
from qmig.checks.check import Check, Context
from qmig.checks.missing import missing_of
from qmig.checks.registry import CHECKS, rule_of_fault
from qmig.checks.verdict import NotRead, Reporter, Verdict
from qmig.errors import (
    LimitExceededError,
    StreamError,
    TruncatedStreamError,
    UnsupportedStreamError,
)
from qmig.faults import Fault
from qmig.memory import PageKind, PageRun
from qmig.wire.multifd import MultifdInit
from qmig.wire.record import field_table

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from qmig.capture.capture import Capture
    from qmig.capture.container import Container
    from qmig.capture.stream import StreamWalk
    from qmig.checks.check import Walk

    Item = Record | PageBatch

_CHANNEL_ID_AT: Final = field_table(MultifdInit)["id"][0]
# What shows that the first block of the list has no mapped-ram header.
_BEHIND_BLOCK_LIST: Final = frozenset({"section footer", "section body", NOT_READ})
_MAPPED_HEADER: Final = "mapped-ram header"
_NOTHING: Final[tuple[Callable[..., None], ...]] = ()


class Judge:
    """Judges one capture, once.

    Args:
        capture: the capture; its survey becomes that of this pass.
        select: beginnings of rule ids to report; empty: all.
        ignore: beginnings of rule ids not to report.
        checks: the checks to make.
    """

    def __init__(
        self,
        capture: Capture,
        *,
        select: Collection[str] = (),
        ignore: Collection[str] = (),
        checks: Sequence[type[Check]] = CHECKS,
    ) -> None:
        self._capture = capture
        self._reporter = Reporter(select, ignore)
        self._survey = Survey()
        self._context = Context(capture, None, self._reporter, self._reporter.verdict.unjudged)
        self._checks = [check(self._context) for check in checks]
        self._on_record = _listeners(self._checks)
        self._on_record.setdefault(NOT_READ, []).append(self._not_read)
        self._on_batch = [c.batch for c in self._checks if type(c).batch is not Check.batch]
        self._on_packet = [c.packet for c in self._checks if type(c).packet is not Check.packet]

    def run(self) -> Verdict:
        """Make the pass; return what was found.

        Raises:
            SourceError: a file cannot be read.
        """
        capture = self._capture
        if capture.main is not None:
            self._main(capture)
            self._further_connections(capture)
        for container in sorted(capture.channel_files, key=_channel_id):
            self._channel(container)
        for check in self._checks:
            check.end()
        verdict = self._reporter.verdict
        if capture.errors:
            self._count_channels()
            verdict.missing = missing_of(capture)
        order = {container.source.name: at for at, container in enumerate(capture.files)}
        verdict.findings.sort(key=lambda f: (order.get(f.path, len(order)), f.offset, f.rule.id))
        return verdict

    # -- main stream and what goes on with it -----------------------------------------------------

    def _main(self, capture: Capture) -> None:
        if not capture.files[0].source.seekable and _is_mapped(capture):
            capture.make_seekable()
        capture.survey = self._survey
        walk = capture.new_walk(resync=True)
        if capture.main is None:
            return
        self._survey.walk = self._context.walk = walk
        self._stream(capture.main, walk)

    def _further_connections(self, capture: Capture) -> None:
        before = self._survey.walk
        if before is None:
            return
        for container in capture.recovery_files:
            walk = resumed_walk(container, before, resync=True)
            self._survey.resumed.append(walk)
            self._context.walk = walk
            self._stream(container, walk)
            before = walk
        self._context.walk = self._survey.walk
        for container in capture.preempt_files:
            self._preempt(container)

    def _stream(self, container: Container, walk: StreamWalk) -> None:
        self._feed(container, walk.records())
        resumed_later = container is not self._last_connection()
        for error in walk.errors:
            # A connection that broke and was resumed is expected to end inside a record.
            if resumed_later and isinstance(error, TruncatedStreamError):
                self._forget_tail(container)
            else:
                self._note(error)
        self._file_end(container, walk)

    def _forget_tail(self, container: Container) -> None:
        places = self._reporter.verdict.not_read
        if places and places[-1].path == container.source.name:
            places.pop()

    def _last_connection(self) -> Container | None:
        files = self._capture.recovery_files
        return files[-1] if files else self._capture.main

    def _preempt(self, container: Container) -> None:
        from qmig.capture.preempt import PreemptWalk

        if self._survey.walk is None:
            return
        walk = PreemptWalk(container.source, container.stream_offset, self._survey.walk)
        self._survey.preempts.append(walk)
        self._feed(container, walk.records())
        if walk.error is not None:
            self._note(walk.error)

    def _feed(self, container: Container, items: Iterator[Item]) -> None:
        progress = self._capture.progress
        add = self._survey.statistics.add
        on_record, on_batch = self._on_record, self._on_batch
        for item in items:
            if isinstance(item, PageBatch):
                add(item.runs)
                for batch in on_batch:
                    batch(container, item)
            else:
                for record in on_record.get(item.name, _NOTHING):
                    record(container, item)
                if item.detail.get("section") == SECTION_NAME:
                    body = container.source.read_at(item.offset, BODY_LEN)
                    self._survey.run_state = parse_run_state(body)
            if progress is not None:
                progress(container, item.offset + item.length)

    # -- channels ---------------------------------------------------------------------------------

    def _channel(self, container: Container) -> None:
        walk = self._channel_walk(container)
        progress = self._capture.progress
        on_record, on_packet = self._on_record, self._on_packet
        # What comes once is counted at once; other channels are when it matters.
        blocks = {} if container.source.seekable else self._block_indexes()
        for item in walk.items(briefly=True):
            if isinstance(item, Packet):
                if blocks:
                    self._count(walk, item, blocks)
                for packet in on_packet:
                    packet(container, walk, item)
                if progress is not None:
                    progress(container, walk.end_offset)
            else:
                for record in on_record.get(item.name, _NOTHING):
                    record(container, item)
        for error in walk.errors:
            arrived = self._capture.channel_files.index(container)
            note_error(self._reporter, error, arrived=arrived)
        self._survey.channels.append(Channel(container, walk, walk.error))
        self._survey.channels.sort(key=lambda channel: channel.walk.channel_id or 0)
        self._file_end(container, walk)

    def _channel_walk(self, container: Container) -> ChannelWalk:
        page_size = self._capture.page_size
        return ChannelWalk(
            container.source,
            container.stream_offset,
            page_size_len=page_size.length if page_size else None,
            resync=True,
        )

    def _block_indexes(self) -> dict[str, int]:
        walk = self._survey.walk
        return {block.name: block.index for block in walk.blocks} if walk is not None else {}

    def _count_channels(self) -> None:
        """Count the pages of all channels: they tell what is missing of a damaged set."""
        blocks = self._block_indexes()
        for container in self._capture.channel_files:
            if container.source.seekable:
                walk = self._channel_walk(container)
                for packet in walk.packets():
                    self._count(walk, packet, blocks)

    def _count(self, walk: ChannelWalk, packet: Packet, blocks: Mapping[str, int]) -> None:
        block, size = blocks.get(packet.block), walk.page_size_len
        if block is None or size is None:
            return
        kinds = ((PageKind.PLAIN, packet.normal_pages), (PageKind.ZERO, packet.zero_pages))
        self._survey.statistics.add(
            PageRun(block, kind, first, count, 0, 0, 0)
            for kind, addrs in kinds
            for first, count, _ in adjacent(addrs, size)
        )

    def _not_read(self, container: Container, record: Record) -> None:
        places = self._reporter.verdict.not_read
        name = container.source.name
        if places and places[-1].path == name and sum(places[-1][1:]) == record.offset:
            last = places.pop()
            places.append(NotRead(name, last.offset, last.length + record.length))
        elif record.length:
            places.append(NotRead(name, record.offset, record.length))

    def _file_end(self, container: Container, walk: Walk) -> None:
        for check in self._checks:
            check.file_end(container, walk)

    # -- errors of reading ------------------------------------------------------------------------

    def _note(self, error: StreamError) -> None:
        note_error(self._reporter, error)


def note_error(reporter: Reporter, error: StreamError, **values: int | str) -> None:
    """Report what a reader could not get past as a finding of the rule that it breaks.

    What is legal and not supported goes to the parts that could not be judged. `values` fill the
    rule's message besides those of the error.
    """
    if isinstance(error, UnsupportedStreamError) and error.fault is None:
        reporter.verdict.unjudged.append(error)
        return
    rule = rule_of_fault(error.fault or _fault_of_kind(error))
    reporter.add(
        rule.id,
        error.path or "",
        offset=error.offset,
        record=error.record,
        field=error.field,
        expected=error.expected,
        found=error.found,
        hint=error.hint,
        values={**error.values, **values},
    )


def _fault_of_kind(error: StreamError) -> Fault:
    if isinstance(error, TruncatedStreamError):
        return Fault.DATA_END
    return Fault.LIMIT if isinstance(error, LimitExceededError) else Fault.OTHER


def _is_mapped(capture: Capture) -> bool:
    """Look ahead whether RAM is mapped, so that the place of a page is not where it is read.

    A source that goes forward only keeps what was read until page records are read.
    """
    for item in capture.new_walk(resync=True).records():
        if isinstance(item, PageBatch) or item.name in _BEHIND_BLOCK_LIST:
            return False
        if item.name == _MAPPED_HEADER:
            return True
    return False


def _channel_id(container: Container) -> int:
    head = container.source.read_at(container.stream_offset, _CHANNEL_ID_AT + 1)
    return head[_CHANNEL_ID_AT] if len(head) > _CHANNEL_ID_AT else 0


def _listeners(checks: Sequence[Check]) -> dict[str, list[Callable[..., None]]]:
    listeners: dict[str, list[Callable[..., None]]] = {}
    for check in checks:
        for name in check.RECORDS:
            listeners.setdefault(name, []).append(check.record)
    return listeners
