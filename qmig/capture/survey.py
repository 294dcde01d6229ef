"""One pass over all files of a capture: the walks, the counts, the errors."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Final, Self

from qmig.capture.records import PageBatch, Record
from qmig.capture.run_state import BODY_LEN, SECTION_NAME, parse_run_state
from qmig.capture.statistics import RamStatistics
from qmig.capture.stream import StreamWalk
from qmig.limits import MAX_KEPT_ITEMS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qmig.capture.capture import Capture
    from qmig.capture.channel import ChannelWalk
    from qmig.capture.container import Container
    from qmig.capture.preempt import PreemptWalk
    from qmig.errors import StreamError

_FIRST_PAGE: Final = attrgetter("first_page")
_MOST_FOREIGN: Final = 4  # vmdescriptions of other streams behind this one that are passed over


class Channel:
    """One multifd channel of a capture.

    Attributes:
        container: the file.
        walk: the finished walk over it.
        error: why it could not be read to its end, or its pages not be placed.
    """

    def __init__(self, container: Container, walk: ChannelWalk, error: StreamError | None) -> None:
        self.container = container
        self.walk = walk
        self.error = error


class Survey:
    """What one pass over all files of a capture found; empty until it is filled.

    Attributes:
        walk: the walk over the main stream; None where there is none.
        resumed: the walks over the connections that resumed it (postcopy recovery).
        preempts: the walks over the channels of postcopy-preempt.
        channels: the multifd channels, by their ids.
        statistics: counts of pages of all of them.
        run_state: QEMU's word for the state of the guest; None where the stream has none.
        items: what the walk over the main stream yielded; None where nobody asked for it, or
            where it is too much to be kept.
    """

    def __init__(self) -> None:
        self.walk: StreamWalk | None = None
        self.items: list[Record | PageBatch] | None = None
        self.statistics = RamStatistics()
        self.channels: list[Channel] = []
        self.resumed: list[StreamWalk] = []
        self.preempts: list[PreemptWalk] = []
        self.run_state: str | None = None
        self._progress: Callable[[Container, int], None] | None = None

    @classmethod
    def of(cls, capture: Capture) -> Self:
        """Make the pass over all files of a capture."""
        survey = cls()
        survey._make(capture)  # of this class
        return survey

    def _make(self, capture: Capture) -> None:
        self._progress = capture.progress
        if capture.main is not None:
            self.walk = self._walked(capture, capture.main)
            if self._guessed(self.walk) and capture.make_seekable():
                # The vmdescription at the end knows what had to be guessed on the way there.
                self.walk = self._walked(capture, capture.main)
            self._without_foreign_description(capture, capture.main)
            for container in capture.recovery_files:
                resumed = resumed_walk(container, self.resumed[-1] if self.resumed else self.walk)
                self.resumed.append(resumed)
                self._count(resumed.records(), container)
            for container in capture.preempt_files:
                from qmig.capture.preempt import PreemptWalk

                preempt = PreemptWalk(container.source, container.stream_offset, self.walk)
                self.preempts.append(preempt)
                self._count(preempt.records(), container)
        for container in capture.channel_files:
            self.channels.append(self._channel(capture, container))
        self.channels.sort(key=lambda channel: channel.walk.channel_id or 0)

    def _walked(self, capture: Capture, main: Container) -> StreamWalk:
        self.statistics, self.run_state = RamStatistics(), None
        self.items = [] if capture.keep_items else None
        walk = capture.new_walk()
        self._count(self._kept(walk.records()), main)
        return walk

    def _kept(self, items: Iterator[Record | PageBatch]) -> Iterator[Record | PageBatch]:
        kept = 0
        for item in items:
            if self.items is not None:
                self.items.append(item)
                kept += len(item.runs) if isinstance(item, PageBatch) else 1
                if kept > MAX_KEPT_ITEMS:
                    self.items = None
            yield item

    def _without_foreign_description(self, capture: Capture, main: Container) -> None:
        """Walk again where the vmdescription that was believed may be that of another stream.

        What an older, longer stream has left behind this one has a description of its own, and
        the search from behind finds that one first. What comes farther without it is right.
        """
        for _ in range(_MOST_FOREIGN):
            walk, statistics, run_state = self.walk, self.statistics, self.run_state
            items = self.items
            foreign = walk.foreign_description if walk else None
            if walk is None or foreign is None:
                return
            before, main.description_end = main.description_end, foreign
            again = self._walked(capture, main)
            # What stands directly behind this stream's EOF is its own after all, and what
            # contradicts it is wrong.
            own = again.eof_offset is not None and again.eof_offset + 1 == foreign
            if own or (again.error is not None and again.end_offset <= walk.end_offset):
                main.description_end = before
                self.statistics, self.run_state, self.items = statistics, run_state, items
                return
            self.walk = again

    @staticmethod
    def _guessed(walk: StreamWalk) -> bool:
        return any(row.extent == "guess" for row in walk.sections.rows)

    def _count(self, items: Iterator[Record | PageBatch], container: Container) -> None:
        progress = self._progress
        for item in items:
            if isinstance(item, PageBatch):
                self.statistics.add(item.runs)
            elif item.detail.get("section") == SECTION_NAME:
                # A source that goes forward only still has the bytes of the record at hand.
                self.run_state = parse_run_state(container.source.read_at(item.offset, BODY_LEN))
            if progress is not None:
                progress(container, item.offset + item.length)

    def _channel(self, capture: Capture, container: Container) -> Channel:
        from qmig.capture.channel import ChannelWalk
        from qmig.capture.multifd import ChannelPages

        walk = ChannelWalk(
            container.source, container.stream_offset, page_size_len=self._page_size_len(capture)
        )
        if self.walk is None or not self.walk.blocks:
            for _ in walk.packets():
                pass
            return Channel(container, walk, walk.error)
        pages = ChannelPages(walk, self.walk.blocks)
        for *_, runs in pages.runs():
            # Zero pages stand behind the others; in their places both are one run nearly always.
            self.statistics.add(sorted(runs, key=_FIRST_PAGE))
            if self._progress is not None:
                self._progress(container, walk.end_offset)
        return Channel(container, walk, pages.error)

    def _page_size_len(self, capture: Capture) -> int | None:
        if self.walk is not None and self.walk.page_size is not None:
            return self.walk.page_size.length
        return capture.given_page_size_len


def resumed_walk(container: Container, before: StreamWalk, *, resync: bool = False) -> StreamWalk:
    """Return a new walk over a connection that resumed the one of `before`."""
    return StreamWalk(container.source, container.stream_offset, resync=resync, resumes=before)
