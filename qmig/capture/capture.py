"""A capture: the files of one migration as one model.

`open_capture` finds the role of each file from its content. The walk over the files is made when
it is first needed; RAM is indexed when it is first read.
"""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING

from qmig.capture.container import Container, Role, open_container
from qmig.capture.page_size import LEGAL_PAGE_SIZES, PageSize
from qmig.capture.records import PageBatch, Record
from qmig.capture.releases import Evidence, channel_evidence, possible_releases, stream_evidence
from qmig.capture.statistics import RamStatistics
from qmig.capture.stream import StreamWalk
from qmig.capture.survey import Survey
from qmig.closing import Closing
from qmig.errors import LimitExceededError, SourceError, StreamError, TruncatedStreamError
from qmig.limits import MAX_CHANNELS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from qmig.capture.channel import Packet
    from qmig.capture.ram_view import Ram
    from qmig.capture.source import Source
    from qmig.capture.survey import Channel
    from qmig.memory import RamBlock

    PathLike = str | os.PathLike[str]


class Capture(Closing):
    """A QEMU migration stream, in one file or in several.

    Use it as a context manager, or call `close`.

    Attributes:
        main: the file with the main stream; None where only channels were given.
        channel_files: the files with multifd channels, as given.
        recovery_files: connections that resumed a broken postcopy migration, in their order.
        preempt_files: channels of postcopy-preempt.
        given_page_size_len: the target page size that the user gave.
        progress: called with a file and the offset in its stream that the survey has reached.
        keep_items: whether the survey keeps what it sees of the main stream for `walk_again`.
    """

    def __init__(
        self,
        containers: Sequence[Container],
        *,
        page_size_len: int | None = None,
        offset: int | None = None,
    ) -> None:
        self.main = next((c for c in containers if c.role is Role.MAIN), None)
        self.channel_files = [c for c in containers if c.role is Role.CHANNEL]
        self.recovery_files = [c for c in containers if c.role is Role.RECOVERY]
        self.preempt_files = [c for c in containers if c.role is Role.PREEMPT]
        self.given_page_size_len = page_size_len
        self.progress: Callable[[Container, int], None] | None = None
        self.keep_items = False
        self._given_offset = offset
        self._opened: list[Container | Source] = list(containers)

    @property
    def files(self) -> list[Container]:
        """All files: the main stream first, then the others as given."""
        main = [self.main] if self.main else []
        return [*main, *self.recovery_files, *self.preempt_files, *self.channel_files]

    def close(self) -> None:
        """Close all files."""
        for opened in self._opened:
            opened.close()

    # -- one pass over everything -----------------------------------------------------------------

    def new_walk(self, *, careful: bool = False, resync: bool = False) -> StreamWalk:
        """Return a new walk over the main stream, which has not begun.

        Args:
            careful: read each page record through its schema.
            resync: go on behind damage where the format gives a safe place.

        Raises:
            SourceError: there is no main stream.
        """
        main = self._main()
        return StreamWalk(
            main.source,
            main.stream_offset,
            page_size_len=self.given_page_size_len,
            careful=careful,
            resync=resync,
            description_end=main.description_end,
        )

    def _main(self) -> Container:
        if self.main is None:
            raise SourceError(
                "the main stream is missing",
                path=", ".join(c.path for c in self.files),
                hint="give the file that begins with QEVM, too",
            )
        return self.main

    def walk_again(self) -> tuple[StreamWalk, Iterable[Record | PageBatch]]:
        """Return a walk over the main stream and what it yields, as the survey kept it if it did.

        Raises:
            SourceError: there is no main stream.
        """
        survey, source = self.survey, self._main().source
        if survey.walk is not None and survey.items is not None and survey.walk.source is source:
            return survey.walk, survey.items
        walk = self.new_walk()
        return walk, walk.records()

    def make_seekable(self) -> bool:
        """Put a compressed main stream into a temporary file; return whether that was done."""
        main = self._main()
        if main.source.seekable or main.path == "standard input":
            return False
        self.main = self._seekable(main)
        return True

    @cached_property
    def survey(self) -> Survey:
        """The pass over all files; it is made once."""
        return Survey.of(self)

    @property
    def stream(self) -> StreamWalk:
        """The finished walk over the main stream: header, configuration, sections, commands.

        Raises:
            SourceError: there is no main stream, or it cannot be read.
        """
        self._main()
        walk = self.survey.walk
        if walk is None:
            raise SourceError("the main stream is missing", path="")
        return walk

    @property
    def channels(self) -> list[Channel]:
        """The multifd channels, by their ids."""
        return self.survey.channels

    @property
    def statistics(self) -> RamStatistics:
        """Counts of pages by block and kind."""
        return self.survey.statistics

    @property
    def blocks(self) -> list[RamBlock]:
        """The block list."""
        return self.stream.blocks

    @property
    def page_size(self) -> PageSize | None:
        """The target page size and where it is known from."""
        walk = self.survey.walk
        if walk is not None and walk.page_size is not None:
            return walk.page_size
        found = {c.walk.page_size_len for c in self.channels if c.walk.page_size_len}
        return PageSize(found.pop(), "multifd packets") if len(found) == 1 else None

    @property
    def errors(self) -> list[StreamError]:
        """What kept the files from being read to their ends; empty for a whole capture.

        A connection that broke and was resumed by another one is expected to end inside a record.
        """
        survey = self.survey
        connections = [survey.walk, *survey.resumed]
        broken = [walk.error for walk in connections[:-1] if walk and walk.error]
        found = [error for error in broken if not isinstance(error, TruncatedStreamError)]
        walks = [connections[-1], *survey.preempts, *self.channels]
        return found + [walk.error for walk in walks if walk is not None and walk.error]

    @cached_property
    def evidence(self) -> list[Evidence]:
        """What the bytes show of the QEMU that wrote them."""
        walk = self.survey.walk
        flush_words = walk.counters.flush_words if walk else 0
        found = stream_evidence(walk) if walk else []
        walks = [channel.walk for channel in self.channels]
        return found + channel_evidence(walks, flush_words if walk else None, flush_words)

    @property
    def releases(self) -> tuple[str, ...]:
        """The QEMU releases that can have written it, oldest first."""
        return possible_releases(self.evidence)

    def records(self, *, careful: bool = False) -> Iterator[Record | PageBatch]:
        """Yield every byte of the main stream, in order, under a name.

        Args:
            careful: read each page record through its schema; slow, for comparison.
        """
        yield from self.new_walk(careful=careful).records()

    def channel_records(self, container: Container) -> Iterator[Record | Packet]:
        """Yield every byte of a channel under a name, and the packets."""
        page_size = self.page_size
        from qmig.capture.channel import ChannelWalk

        yield from ChannelWalk(
            container.source,
            container.stream_offset,
            page_size_len=page_size.length if page_size else None,
        ).items()

    # -- RAM --------------------------------------------------------------------------------------

    @cached_property
    def ram(self) -> Ram:
        """The final RAM: block name -> memory that can be read at any address.

        Raises:
            StreamError: the capture is damaged or incomplete, so that its RAM is not the guest's;
                `partial_ram` gives what there is.
            SourceError: there is no main stream, or it comes from a pipe.
        """
        for error in self.errors:
            if self.survey.walk is None or not self._behind_ram(error):
                raise error
        return self.partial_ram

    def _behind_ram(self, error: StreamError) -> bool:
        """Tell whether the RAM was complete before the main stream broke."""
        walk = self.stream
        return error is walk.error and walk.ram_ended

    @cached_property
    def partial_ram(self) -> Ram:
        """The RAM as far as the files can be read: pages may be missing, or older than the last.

        Raises:
            SourceError: there is no main stream, or it comes from a pipe.
        """
        from qmig.capture.ram_build import build_ram

        walk, items = self._walk_for_ram(self._seekable(self._main()))
        ram, sources = build_ram(
            walk,
            items,
            [self._seekable(c) for c in self.recovery_files],
            [self._seekable(c) for c in self.preempt_files],
            [self._seekable(c) for c in self.channel_files],
            flush_markers=bool(self.stream.counters.flush_words),
        )
        self.survey.items = None
        self._opened += sources
        return ram

    def _walk_for_ram(self, main: Container) -> tuple[StreamWalk, Iterable[Record | PageBatch]]:
        if main is self.main:
            return self.walk_again()
        walk = StreamWalk(
            main.source,
            main.stream_offset,
            page_size_len=self.given_page_size_len,
            description_end=main.description_end,
        )
        return walk, walk.records()

    def _seekable(self, container: Container) -> Container:
        if container.source.seekable:
            return container
        if container.path == "standard input":
            raise SourceError(
                "a pipe cannot be read at any address",
                path=container.path,
                hint="save it to a file and open that",
            )
        again = open_container(container.path, keep_all=True, offset=self._given_offset)
        self._opened.append(again)
        return again


def open_capture(
    *paths: PathLike,
    page_size_len: int | None = None,
    offset: int | None = None,
    keep_all: bool = False,
) -> Capture:
    """Open the files of one migration.

    Args:
        paths: a stream, a libvirt image, a compressed one of either, "-" for standard input; or a
            main stream and its multifd channels, in any order.
        page_size_len: the target page size in bytes, where the stream does not tell it.
        offset: where the stream begins in its file, where that is not byte 0.
        keep_all: keep what comes from a pipe or a decompressor in a temporary file, so that RAM
            can be read from standard input, too.

    Raises:
        SourceError: a file cannot be read or is no migration stream; two are main streams.
        StreamError: the wrapping of a file is damaged.
        ValueError: the page size is not a power of two from 256 to 65536, or no path was given.
    """
    if page_size_len is not None and page_size_len not in LEGAL_PAGE_SIZES:
        raise ValueError(f"{page_size_len} is not a power of two from 256 to 65536")
    if not paths:
        raise ValueError("no file given")
    containers: list[Container] = []
    try:
        for path in paths:
            containers.append(open_container(path, keep_all=keep_all, offset=offset))
        _check_roles(containers)
    except (SourceError, StreamError):
        for container in containers:
            container.close()
        raise
    return Capture(containers, page_size_len=page_size_len, offset=offset)


def _check_roles(containers: Sequence[Container]) -> None:
    mains = [c for c in containers if c.role is Role.MAIN]
    if len(mains) > 1:
        raise SourceError(
            f"is a main stream, and so is {mains[0].path}",
            path=mains[1].path,
            hint="give the files of one migration at a time",
        )
    if len(containers) - len(mains) > MAX_CHANNELS:
        raise LimitExceededError(
            path=containers[-1].path,
            offset=0,
            record="set of channels",
            expected=f"at most {MAX_CHANNELS} channels",
            found=str(len(containers) - len(mains)),
        )
