"""The channels of a set side by side, and against the main stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from qmig.capture.channel import ChannelWalk
from qmig.capture.releases import channel_evidence, possible_releases, stream_evidence
from qmig.checks.check import Check, Context
from qmig.checks.multifd_log import ChannelLog, PageLog
from qmig.checks.multifd_markers import Markers
from qmig.checks.multifd_overtaking import judge_overtaking
from qmig.checks.multifd_syncs import judge_syncs
from qmig.errors import LimitExceededError
from qmig.limits import MAX_JUDGED_PACKETS, MAX_JUDGED_PAGE_RUNS

if TYPE_CHECKING:
    from qmig.capture.channel import Packet
    from qmig.capture.container import Container
    from qmig.capture.records import PageBatch, Record
    from qmig.checks.check import Walk


class SetCheck(Check):
    """Packet numbers, SYNCs, markers, and pages that overtake one another.

    Judged only where no channel is damaged: a packet that was passed over takes its number, its
    pages and perhaps a SYNC with it.
    """

    RECORDS: ClassVar[frozenset[str]] = frozenset({"section header", "RAM word"})

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._used = bool(context.capture.channel_files)
        self._markers = Markers()
        self._logs: list[ChannelLog] = []
        self._log: ChannelLog | None = None
        self._pages: PageLog | None = None

    def record(self, container: Container, record: Record) -> None:
        """Look at the frame of the main stream's RAM sections."""
        if self._used and container is self.context.capture.main:
            self._markers.add(record)

    def batch(self, container: Container, batch: PageBatch) -> None:
        """Look at pages in the main stream."""
        if self._used and container is self.context.capture.main:
            self._markers.add_pages(batch.offset)
            self._page_log().add_main(self._markers.epoch, batch.runs)

    def _page_log(self, page_size_len: int | None = None) -> PageLog:
        if self._pages is None:
            walk = self.context.walk
            blocks = walk.blocks if walk else []
            if walk is not None and walk.page_size is not None:
                page_size_len = walk.page_size.length
            self._pages = PageLog(blocks, page_size_len)
        return self._pages

    def packet(self, container: Container, walk: ChannelWalk, packet: Packet) -> None:
        """Look at a packet of a channel."""
        if self._log is None or self._log.walk is not walk:
            self._log = ChannelLog(container, walk)
            self._logs.append(self._log)
        log = self._log
        if packet.normal_pages or packet.zero_pages:
            pages = self._page_log(walk.page_size_len)
            pages.add_packet(len(self._logs) - 1, len(log.syncs), len(log.offsets), packet)
        log.add(packet)

    def file_end(self, container: Container, walk: Walk) -> None:
        """Remember a channel without a packet, too."""
        if isinstance(walk, ChannelWalk) and all(log.walk is not walk for log in self._logs):
            self._logs.append(ChannelLog(container, walk))

    def end(self) -> None:
        """Judge the channels side by side."""
        if not self._logs or any(log.walk.errors for log in self._logs) or not self._bounded():
            return
        walks = [log.walk for log in self._logs]
        main = self.context.walk
        by_channels = possible_releases(channel_evidence(walks, None, 0))
        evidence = [*(stream_evidence(main) if main else []), *channel_evidence(walks, None, 0)]
        releases = possible_releases(evidence) or by_channels
        from qmig.checks.multifd_numbers import judge_numbers  # numpy is slow to import

        judge_numbers(self.context, self._logs)
        pages = self._page_log()
        markers = self._markers if main is not None and not main.errors else None
        level = judge_syncs(self.context, self._logs, markers, pages, releases, by_channels)
        if level is not None:
            judge_overtaking(self.context, self._logs, pages, releases, main=level)

    def _bounded(self) -> bool:
        """Tell whether all was kept that is judged; what was not goes to what was not judged."""
        for what, most, full in (
            ("packets of a channel", MAX_JUDGED_PACKETS, any(log.full for log in self._logs)),
            ("runs of pages", MAX_JUDGED_PAGE_RUNS, self._page_log().full),
        ):
            if full:
                log = self._logs[-1]
                self.context.unjudged.append(
                    LimitExceededError(
                        path=log.container.source.name,
                        offset=log.walk.start_offset,
                        record="multifd channels side by side",
                        expected=f"at most {most} {what}",
                        found="more",
                    )
                )
                return False
        return True
