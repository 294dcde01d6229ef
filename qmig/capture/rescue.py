"""What can be had from a damaged or truncated capture: known pages, whole sections, what is lost.

Nothing is guessed to be there: a page is known if all bytes that make it up were found, a section
if it was read to its end.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from qmig.capture.channel import ChannelWalk
from qmig.capture.container import Role, open_container
from qmig.capture.page_index import TooManyRunsError
from qmig.capture.page_size import DEFAULT_PAGE_SIZE_LEN
from qmig.capture.preempt import PreemptWalk
from qmig.capture.rescue_channels import RescuedChannel
from qmig.capture.rescue_ram import RamRescue
from qmig.capture.rescue_result import Description, MissingDevice, Rescue
from qmig.capture.rescue_walk import MainRescue
from qmig.capture.salvaged import read_salvaged
from qmig.capture.stream import StreamWalk
from qmig.errors import (
    LimitExceededError,
    MalformedStreamError,
    QmigError,
    SourceError,
    StreamError,
    TruncatedStreamError,
)
from qmig.limits import MAX_PAGE_RUNS, MAX_SALVAGED_RANGES
from qmig.wire.framing import QemuVmSection, VmDescriptionHead
from qmig.wire.magic import SALVAGED_SECTION
from qmig.wire.record import fixed_len
from qmig.wire.vmdesc import VmDescError, parse_vmdescription

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from qmig.capture.container import Container

    PathLike = str | os.PathLike[str]
    Progress = Callable[[Container, int], None]

_GUESS: Final = "guess"


def rescue(
    *paths: PathLike,
    page_size_len: int | None = None,
    offset: int | None = None,
    progress: Progress | None = None,
) -> Rescue:
    """Find what can be had of the files of one migration.

    Args:
        paths: as for `open_capture`; a file that cannot be used is damage and no error, but for
            the one with the main stream.
        page_size_len: the target page size in bytes, where the stream does not tell it.
        offset: where the stream begins in its file.
        progress: told (file, offset in its stream) now and then.

    Raises:
        SourceError: no file holds a main stream, or two do.
        StreamError: the wrapping of the main stream's file is damaged.
        LimitExceededError: it has more runs of pages, or more sections, than can be kept.
    """
    found = _opened(paths, offset)
    try:
        _Rescuer(found, page_size_len, progress).run()
    except (SourceError, StreamError):
        found.close()
        raise
    return found


def _opened(paths: Sequence[PathLike], offset: int | None) -> Rescue:
    containers: list[Container] = []
    damage: list[QmigError] = []
    for path in paths:
        try:
            containers.append(open_container(path, keep_all=True, offset=offset))
        except (SourceError, StreamError) as error:
            damage.append(error)
    mains = [container for container in containers if container.role is Role.MAIN]
    if len(mains) == 1:
        return Rescue(containers, mains[0], damage=damage)
    for container in containers:
        container.close()
    if mains:
        raise SourceError(
            f"is a main stream, and so is {mains[0].path}",
            path=mains[1].path,
            hint="give the files of one migration at a time",
        )
    if damage:
        raise damage[0]
    raise SourceError(
        "the main stream is missing",
        path=", ".join(container.path for container in containers),
        hint="without its block list nothing can be placed: give the file that begins with QEVM",
    )


class _Rescuer:
    """Fills a `Rescue`."""

    def __init__(self, found: Rescue, page_size_len: int | None, progress: Progress | None) -> None:
        self._found = found
        self._progress = progress
        self._page_size_len = page_size_len
        self._connections: list[MainRescue] = []
        self._channels: list[RescuedChannel] = []

    def _with(self, role: Role) -> list[Container]:
        return [container for container in self._found.containers if container.role is role]

    def run(self) -> None:
        found = self._found
        channels = self._with(Role.CHANNEL)
        if self._page_size_len is None:
            self._page_size_len = _page_size_in(channels)
        ram = RamRescue(
            flush_markers=bool(channels) and self._flush_markers(), progress=self._progress
        )
        try:
            self._read(ram, channels)
        except TooManyRunsError as error:
            raise LimitExceededError(
                path=found.main.path,
                offset=0,
                record="RAM",
                expected=f"at most {MAX_PAGE_RUNS} runs of pages",
                found="more",
            ) from error
        self._describe_stream()
        first, last = self._connections[0], self._connections[-1]
        views = ram.views(
            first.last, finished=self._ram_ended(), all_listed=found.lost_ram_len == 0
        )
        # A block list ends where its total is reached, so that one of no length cannot end it.
        found.blocks = [view for view in views if view.used_length]
        left = MAX_SALVAGED_RANGES
        for view in found.blocks:
            found.maps.append(view.page_map(left))
            left -= len(found.maps[-1].unknown)
        found.page_size_len = first.last.known_page_size_len or DEFAULT_PAGE_SIZE_LEN
        found.eof = last.eof_offset is not None
        self._find_missing(last)
        found.versions_may_be_old = self._may_be_old()
        self._find_reasons(ram)

    def _flush_markers(self) -> bool:
        main = self._found.main
        walk = StreamWalk(main.source, main.stream_offset, page_size_len=self._page_size_len)
        for _ in walk.records():
            pass
        return bool(walk.counters.flush_words)

    def _read(self, ram: RamRescue, channels: list[Container]) -> None:
        found = self._found
        resumes = None
        for container in [found.main, *self._with(Role.RECOVERY)]:
            connection = MainRescue(container, page_size_len=self._page_size_len, resumes=resumes)
            self._connections.append(connection)
            ram.add_connection(connection)
            resumes = connection.last
        walk = self._connections[0].last
        first = self._connections[0].pieces[0]
        listed_len = sum(block.used_length for block in walk.blocks)
        found.lost_ram_len = max(0, first.total_ram_len - listed_len)
        for number, connection in enumerate(self._connections):
            damage = connection.damage
            resumed = number + 1 < len(self._connections)
            if resumed and damage and isinstance(damage[-1], TruncatedStreamError):
                damage = damage[:-1]  # a connection that broke ends anywhere
            eof_offset = connection.eof_offset
            for error in damage:
                behind = eof_offset is not None and error.offset > eof_offset
                (found.damage_mended if behind else found.damage).append(error)
            found.damage_mended += connection.mended
        for container in self._with(Role.PREEMPT):
            preempt = PreemptWalk(container.source, container.stream_offset, walk, exact=True)
            ram.add_preempt(preempt)
            found.damage += [preempt.error] if preempt.error else []
        if walk.blocks:
            for container in channels:
                self._read_channel(ram, container)

    def _read_channel(self, ram: RamRescue, container: Container) -> None:
        found, walk = self._found, self._connections[0].last
        size = walk.known_page_size_len or DEFAULT_PAGE_SIZE_LEN
        channel = RescuedChannel(container, walk.blocks, size, all_listed=found.lost_ram_len == 0)
        self._channels.append(channel)
        found.opened.append(channel.plain)
        ram.add_channel(channel, container)
        found.damage += channel.damage

    # -- what it is -------------------------------------------------------------------------------

    def _describe_stream(self) -> None:
        found = self._found
        for connection in self._connections:
            source = connection.container.source
            found.elements += [(element, source) for element in connection.elements.found]
        pieces = [piece for connection in self._connections for piece in connection.pieces]
        found.configuration = pieces[0].configuration
        footers = [piece.footers for piece in pieces if piece.footers is not None]
        found.footers = footers[-1] if footers else True

    def _ram_ended(self) -> bool:
        """Whether the end of the RAM was read whole, or what comes behind it."""
        ended = any(
            element.is_ram and element.kind is QemuVmSection.SECTION_END and element.complete
            for element, _ in self._found.elements
        )
        return ended or self._connections[-1].eof_offset is not None

    def _may_be_old(self) -> bool:
        found = self._found
        if found.blocks and self._connections[0].last.mapped:
            return not all(view.written for view in found.blocks if hasattr(view, "written"))
        ram = [
            element
            for element, source in found.elements
            if element.is_ram and source is self._connections[-1].container.source
        ]
        ends = [element.end for element in ram]
        cut = any(not element.complete for element in ram)
        if cut or not self._ram_ended() or any(channel.damage for channel in self._channels):
            return True
        main_damage = [e for connection in self._connections for e in connection.damage]
        other = [e for e in found.damage if e not in main_damage]
        return bool(other) or any(e.offset < max(ends, default=0) for e in main_damage)

    # -- what is missing --------------------------------------------------------------------------

    def _find_missing(self, last: MainRescue) -> None:
        found = self._found
        found.description = _description_of(last)
        self._leave_out_unsure()
        self._compare_lengths()
        unclear = last.last.vmdescription_error
        if unclear is not None and last.eof_offset is not None:
            found.damage_mended.append(
                MalformedStreamError(
                    path=last.container.path,
                    offset=last.eof_offset + 1,
                    record="vmdescription",
                    expected="a description of the devices as JSON",
                    found=unclear,
                )
            )
        marker = self._earlier_marker()
        if found.description is None:
            found.missing_listed = not found.damage and found.eof
        else:
            kept = Counter(
                (element.name, element.instance_id)
                for element, _ in found.elements
                if element.complete and element.kind is QemuVmSection.SECTION_FULL
            )
            for device in found.description.parsed.devices:
                key = (device.name, device.instance_id)
                if kept[key]:
                    kept[key] -= 1
                else:
                    found.missing.append(MissingDevice(*key))
        if marker:
            found.reasons.append("it was salvaged before: what was missing then is missing still")

    def _leave_out_unsure(self) -> None:
        """Leave out the sections of which nothing tells for certain where they end."""
        for connection in self._connections:
            unsure = {offset for piece in connection.pieces for offset in piece.unsure}
            for element in connection.elements.found:
                element.complete = element.complete and element.offset not in unsure

    def _compare_lengths(self) -> None:
        """Leave out the sections that are longer or shorter than they are described.

        Such a one has its footer, but lost or gained bytes: what it holds was moved.
        """
        found = self._found
        described: dict[tuple[str, int], list[int | None]] = {}
        for device in found.description.parsed.devices if found.description else ():
            key = (device.name, device.instance_id)
            described.setdefault(key, []).append(device.body_len)
        for element, source in found.elements:
            lengths = described.get((element.name, element.instance_id))
            whole_full = element.complete and element.kind is QemuVmSection.SECTION_FULL
            if not whole_full or not lengths or element.body_len in lengths or None in lengths:
                continue
            element.complete = False
            found.damage.append(
                MalformedStreamError(
                    path=source.name,
                    offset=element.offset,
                    record=f"FULL section {element.name!r}, instance {element.instance_id}",
                    expected=f"{lengths[0]} bytes, as the vmdescription says",
                    found=f"{element.body_len} bytes up to its footer",
                )
            )

    def _earlier_marker(self) -> bool:
        """Take over what an earlier salvage said that is missing; tell whether there was one."""
        found = self._found
        for element, source in found.elements:
            if element.name != SALVAGED_SECTION or not element.complete:
                continue
            footer_len = 0 if not found.footers else 5
            start = element.end - footer_len - element.body_len
            marker = read_salvaged(source, start, element.body_len)
            if marker is not None:
                found.missing += [MissingDevice(*device) for device in marker.devices]
                found.lost_ram_len += marker.lost_ram_len
                found.missing_listed = found.missing_listed and marker.devices_listed
            return True
        return False

    def _find_reasons(self, ram: RamRescue) -> None:
        found = self._found
        unknown = any(
            view.block.addr is None and pages.unknown_pages
            for view, pages in zip(found.blocks, found.maps, strict=True)
        )
        several = len(found.containers) > 1
        if not found.blocks and not found.damage:
            found.reasons.append("it holds no RAM")
        if unknown and several:
            found.reasons.append("pages are missing: files of the migration may be missing, too")
        elif unknown and not found.damage and not ram.payload_pages and not _is_mapped(found):
            found.reasons.append("its pages went over multifd channels, whose files were not given")
        if ram.broken_pages:
            found.reasons.append(f"{ram.broken_pages} page payloads cannot be decoded")
        if ram.doubtful_pages:
            pages = ram.doubtful_pages
            found.reasons.append(
                f"{pages} pages right in front of damage may lack bytes: they are left out"
                if pages > 1
                else "the page right in front of the damage may lack bytes: it is left out"
            )
        if any(channel.walk.counters.device_state_packets for channel in self._channels):
            found.reasons.append("device state that went over multifd channels is not taken over")
        for container in found.containers:
            failure = container.source.failure
            if failure is not None and not failure.values.get("cut"):
                found.reasons.append(
                    f"the compressed data of {container.path} is damaged, and its checksum stands "
                    "behind it: bytes in front of the place that was noticed may be wrong as well"
                )
        guessed = [e.name for e, _ in found.elements if e.extent == _GUESS]
        if guessed:
            found.reasons.append("nothing in it tells where its sections end: they may be cut")


def _page_size_in(channels: Sequence[Container]) -> int | None:
    """Return the page size that the first packets tell, where the main stream may be cut short."""
    for container in channels:
        walk = ChannelWalk(container.source, container.stream_offset)
        for packet in walk.packets():
            if packet.pages_alloc and walk.page_size_len:
                return walk.page_size_len
    return None


def _is_mapped(found: Rescue) -> bool:
    return any(view.block.mapped is not None for view in found.blocks)


def _description_of(connection: MainRescue) -> Description | None:
    source = connection.container.source
    at = connection.described_offset
    if connection.eof_offset is not None and connection.last.vmdescription is not None:
        at = connection.eof_offset + 1
    if at is None:
        return None
    head = source.read_at(at, fixed_len(VmDescriptionHead))
    if len(head) < fixed_len(VmDescriptionHead):
        return None
    text = source.read_at(at + len(head), VmDescriptionHead.parse(head).length)
    try:
        return Description(text, parse_vmdescription(text))
    except VmDescError:
        return None
