"""What is worth saying about a capture though it can be read: gaps between its files, guesses.

A remark is no judgement: nothing here says whether QEMU would load the capture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from qmig.capture.channel_set import missing_packets
from qmig.capture.requirements import (
    is_mapped,
    pages_absent,
    sync_per_section,
    uses_multifd,
)
from qmig.wire.magic import SALVAGED_SECTION
from qmig.wire.record import fixed_len

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from qmig.capture.capture import Capture
    from qmig.capture.stream import StreamWalk
    from qmig.capture.survey import Channel

_MOST_NAMED: Final = 8


class Remark(NamedTuple):
    """One thing worth saying.

    Attributes:
        text: in words, one line.
        path: the file that it is about; None: the capture as a whole.
        offset: where in that file's stream, None where it has no place.
    """

    text: str
    path: str | None = None
    offset: int | None = None


def remarks(capture: Capture) -> list[Remark]:
    """Return what is worth saying about a capture."""
    found = [*_containers(capture)]
    walk = capture.survey.walk
    if walk is not None and capture.main is not None:
        path = capture.main.path
        found += _stream(walk, path)
        found += _mapped(walk, path)
        found += _salvaged(walk, path)
    else:
        found.append(
            Remark("the main stream is missing: its sections, block list and device state with it")
        )
    found += _channel_set(capture)
    found += _uuids(capture)
    found += _syncs(capture)
    if not capture.releases:
        found.append(Remark("what the files show belongs to different QEMU releases"))
    return found


def _containers(capture: Capture) -> Iterator[Remark]:
    for container in capture.files:
        image = container.libvirt
        if image is not None and image.partial:
            yield Remark(
                "libvirt marks the image as unfinished (LibvirtQemudPart) and will not restore it",
                container.path,
                0,
            )


def _stream(walk: StreamWalk, path: str) -> Iterator[Remark]:
    if walk.configuration is None and walk.header is not None:
        yield Remark("it has no configuration section, so the machine type is not known", path)
    guessed = [row.idstr for row in walk.sections.rows if row.extent == "guess"]
    if guessed:
        yield Remark(
            f"nothing in the stream tells where {named(guessed)} end: found by trying", path
        )
    if walk.vmdescription_error is not None:
        yield Remark(f"the vmdescription cannot be read: {walk.vmdescription_error}", path)
    if walk.counters.commands_dropped:
        count = walk.counters.commands_dropped
        yield Remark(f"{count} further commands are not listed", path)
    if walk.page_size is not None and walk.page_size.origin in ("machine type", "assumed"):
        yield Remark(
            f"the target page size, {walk.page_size.length}, is not in the stream: "
            "taken from the machine type or assumed",
            path,
        )
    if walk.trailing is not None and not walk.trailing.zeros:
        yield Remark(
            f"{walk.trailing.length} bytes that are not zeros stand behind the stream",
            path,
            walk.trailing.offset,
        )
    if walk.error is None and walk.blocks and not walk.ram_ended:
        yield Remark("the ram section has no END, as in a background snapshot", path)


def _salvaged(walk: StreamWalk, path: str) -> Iterator[Remark]:
    """Say what `qmig salvage` said that is missing."""
    row = next((row for row in walk.sections.rows if row.idstr == SALVAGED_SECTION), None)
    if row is None:
        return
    from qmig.capture.salvaged import read_section

    found = read_section(walk.source, row, footers=bool(walk.footers))
    if found is None:
        yield Remark("salvaged from a damaged capture: what is missing cannot be read", path)
        return
    known = sum(block.known_pages for block in found.blocks)
    pages = known + sum(block.unknown_pages for block in found.blocks)
    text = f"salvaged: {known} of {pages} pages known"
    if found.lost_ram_len:
        text += f", {found.lost_ram_len} bytes of RAM in blocks that are lost as a whole"
    names = [name for name, _ in found.devices]
    if names:
        text += f", {len(names)} devices missing ({named(names)})"
    if not found.devices_listed:
        text += ", which devices are missing is not known"
    yield Remark(text, path, row.offset)
    if found.error:
        yield Remark(f"it was salvaged because of {found.error}", path, row.offset)


def _mapped(walk: StreamWalk, path: str) -> Iterator[Remark]:
    for block in walk.blocks:
        layout = block.mapped
        if layout is None:
            continue
        expected = layout.header_offset + fixed_len(type(layout.header))
        if layout.header.bitmap_offset != expected:
            moved = layout.header.bitmap_offset - expected
            yield Remark(
                f"the offsets of {block.name} do not fit its place by {moved:+d} bytes: "
                "the stream seems to be cut out of its file",
                path,
                layout.header_offset,
            )
    if is_mapped(walk) and walk.blocks and not walk.ram_ended:
        yield Remark(
            "the save did not get to its end: the bitmaps, which are written last, may be empty",
            path,
        )


def _channel_set(capture: Capture) -> Iterator[Remark]:
    walk = capture.survey.walk
    channels = capture.channels
    shown = uses_multifd(capture)
    if not channels and shown is not None:
        yield Remark(f"multifd channels are missing: {shown}")
        return
    by_id: dict[int, list[Channel]] = {}
    for channel in channels:
        if channel.walk.channel_id is not None:
            by_id.setdefault(channel.walk.channel_id, []).append(channel)
    missing = sorted(set(range(max(by_id, default=-1))) - set(by_id))
    if missing:
        yield Remark(f"channel {named(map(str, missing))} is missing")
    elif lost := missing_packets(channel.walk.counters for channel in channels):
        yield Remark(
            f"{lost} packets or more are in none of the files: a channel with a higher id is "
            "missing, or packets are"
        )
    elif walk is not None and walk.ram_ended and channels and pages_absent(capture, walk):
        yield Remark(
            "not all pages of the main memory were sent: a channel with a higher id may be missing"
        )
    for number, same in sorted(by_id.items()):
        if len(same) > 1:
            paths = named(channel.container.path for channel in same)
            yield Remark(f"the channel id {number} comes {len(same)} times: {paths}")
    if walk is not None and is_mapped(walk) and channels:
        yield Remark("the main stream is mapped-ram, whose channels carry no packets")


def _uuids(capture: Capture) -> Iterator[Remark]:
    walk = capture.survey.walk
    uuids = {str(channel.walk.uuid) for channel in capture.channels}
    if len(uuids) > 1:
        yield Remark(f"the channels have different UUIDs: {named(sorted(uuids))}")
    recorded = walk.configuration.uuid if walk and walk.configuration else None
    if recorded is not None and len(uuids) == 1 and str(recorded) not in uuids:
        yield Remark(f"the configuration has UUID {recorded}, the channels {uuids.pop()}")


def _syncs(capture: Capture) -> Iterator[Remark]:
    counts = {
        channel.container.path: channel.walk.counters.syncs
        for channel in capture.channels
        if channel.error is None
    }
    if len(set(counts.values())) > 1:
        each = named(f"{count} in {path}" for path, count in counts.items())
        yield Remark(f"the channels have different numbers of SYNC packets: {each}")
        return
    walk = capture.survey.walk
    if walk is None or walk.error is not None or not counts:
        return
    syncs = next(iter(counts.values()))
    if sync_per_section(capture):
        markers, word = walk.counters.eos_words, "EOS words"
        legal = {markers}
    else:
        markers, word = walk.counters.flush_words, "MULTIFD_FLUSH words"
        legal = {markers, markers + 1}  # 9.1 and 9.2 end each channel with one more
    if syncs not in legal:
        yield Remark(
            f"each channel has {syncs} SYNC packets, the main stream {markers} {word}: "
            "the files may belong to different migrations, or a part is missing"
        )


def named(names: Iterable[str]) -> str:
    """Return names as a list in words, only the first ones where there are many."""
    items = list(names)
    if len(items) > _MOST_NAMED:
        return f"{', '.join(items[:_MOST_NAMED])} and {len(items) - _MOST_NAMED} more"
    if len(items) > 1:
        return f"{', '.join(items[:-1])} and {items[-1]}"
    return "".join(items)
