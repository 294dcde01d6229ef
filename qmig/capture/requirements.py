"""What a QEMU must be and must set to load a capture, each with its reason.

A pure function over the capture: nothing here reads a file again or decides how it is shown.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

from qmig.capture.releases import RELEASES, Evidence, between, describe_releases, possible_releases
from qmig.memory import PageKind
from qmig.wire.multifd_flags import MultifdCompression

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from qmig.capture.capture import Capture
    from qmig.capture.stream import StreamWalk
    from qmig.memory import RamBlock


class Kind(Enum):
    """What has to be set, and where."""

    CAPABILITY = "capability"  # migrate-set-capabilities
    PARAMETER = "parameter"  # migrate-set-parameters
    OPTION = "option"  # of the command line
    PROPERTY = "property"  # of the command line: -global migration.NAME=VALUE
    RELEASE = "release"  # which QEMU
    TRANSPORT = "transport"  # how the bytes must come


class Requirement(NamedTuple):
    """One thing that the loading QEMU must be or have set.

    Attributes:
        kind: what has to be set.
        name: under QEMU's name.
        value: what to; None where the capture does not tell.
        reason: what in the capture asks for it, and what else to know.
    """

    kind: Kind
    name: str
    value: bool | int | str | None
    reason: str


# migration/options.c: machine types up to 8.0 have multifd-flush-after-each-section on.
_LAST_SYNC_PER_SECTION: Final = (8, 0)
_FLUSH_PROPERTY: Final = "multifd-flush-after-each-section"
_ADVISE_FIELD: Final = "target_page_size"
_KIB: Final = 1024
_NOT_MAIN_MEMORY: Final = ("/", "rom", "bios", "flash", "vga", "vram", "video")


def requirements(capture: Capture) -> list[Requirement]:
    """Return what a QEMU must be and must set to load a capture."""
    walk = capture.survey.walk
    found: list[Requirement] = []
    if walk is not None:
        found += _machine(walk)
        found += _recorded_capabilities(walk)
        found += _postcopy(walk)
        found += _other_handlers(walk)
    found += _uuid(capture)
    found += _multifd(capture)
    found += _pages(capture)
    found.append(_release(capture))
    return found


def uses_multifd(capture: Capture) -> str | None:
    """Say what shows that RAM came over multifd channels, or None."""
    if capture.channels:
        count = len(capture.channels)
        return f"{count} channel file was given" if count == 1 else f"{count} channel files given"
    walk = capture.survey.walk
    if walk is None or is_mapped(walk) or not _sends_pages(walk):
        return None
    absent = pages_absent(capture, walk)
    if walk.counters.flush_words and absent:
        return "the main stream has MULTIFD_FLUSH words, and not all pages"
    if absent and not _has_content(capture, walk):
        return "no page with content is in the main stream"
    return None


def is_mapped(walk: StreamWalk) -> bool:
    """Tell whether a stream keeps its pages at fixed offsets (mapped-ram)."""
    recorded = walk.configuration.capabilities if walk.configuration else None
    return "mapped-ram" in (recorded or ()) or any(block.mapped for block in walk.blocks)


def main_block(blocks: list[RamBlock]) -> RamBlock | None:
    """Return the block that seems to be the main memory: the largest that is no ROM or video."""
    return max(_memory(blocks), key=lambda block: block.used_length, default=None)


def sync_per_section(capture: Capture) -> bool:
    """Tell whether the channels were synced at the end of each section, not of each round."""
    walk = capture.survey.walk
    return bool(
        walk is not None
        and capture.channels
        and walk.counters.eos_words
        and not walk.counters.flush_words
        and any(channel.walk.counters.syncs for channel in capture.channels)
    )


# -- the parts ------------------------------------------------------------------------------------


def _machine(walk: StreamWalk) -> Iterator[Requirement]:
    if walk.configuration is not None:
        reason = "the configuration names this machine type"
        yield Requirement(Kind.OPTION, "-M", walk.configuration.machine, reason)
    block = main_block(walk.blocks)
    if block is not None and block.used_length:
        length = block.used_length
        reason = f"the main RAM block, {block.name}, has {length} bytes"
        if sum(other.used_length == length for other in _memory(walk.blocks)) > 1:
            reason += "; there are others as large (NUMA nodes, DIMMs)"
        yield Requirement(Kind.OPTION, "-m", memory_size(length), reason)


def memory_size(length: int) -> str:
    """Return a length as QEMU's `-m` takes it."""
    for unit, suffix in ((_KIB**3, "G"), (_KIB**2, "M"), (_KIB, "K")):
        if length % unit == 0:
            return f"{length // unit}{suffix}"
    return f"{length}B"


def _recorded_capabilities(walk: StreamWalk) -> Iterator[Requirement]:
    recorded = (walk.configuration.capabilities if walk.configuration else None) or ()
    for name in recorded:
        reason = "recorded in the configuration"
        if name == "x-ignore-shared":
            reason += "; shared blocks need the memory file they had"
        elif name != "mapped-ram":
            reason += ", where QEMU itself does not record it"
        yield Requirement(Kind.CAPABILITY, name, value=True, reason=reason)
    if walk.ignore_shared and "x-ignore-shared" not in recorded:
        yield Requirement(
            Kind.CAPABILITY,
            "x-ignore-shared",
            True,  # noqa: FBT003
            "the block list has addr fields; shared blocks need the memory file they had",
        )


def _postcopy(walk: StreamWalk) -> Iterator[Requirement]:
    names = {command.name for command in walk.commands}
    advises = [c for c in walk.commands if c.name == "POSTCOPY_ADVISE"]
    if any(_ADVISE_FIELD in advise.detail for advise in advises):
        reason = "command POSTCOPY_ADVISE with page sizes"
        yield Requirement(Kind.CAPABILITY, "postcopy-ram", value=True, reason=reason)
    if "ENABLE_COLO" in names:
        yield Requirement(Kind.CAPABILITY, "x-colo", value=True, reason="command ENABLE_COLO")
    needed = [name for name in ("OPEN_RETURN_PATH", "PING") if name in names]
    if needed:
        yield Requirement(
            Kind.TRANSPORT,
            "return path",
            None,
            f"command {' and '.join(needed)}: QEMU answers on the same connection, so this cannot "
            "be loaded from a file or a pipe, only over a socket",
        )


def _other_handlers(walk: StreamWalk) -> Iterator[Requirement]:
    if any(row.idstr == "dirty-bitmap" for row in walk.sections.rows):
        reason = "section dirty-bitmap"
        yield Requirement(Kind.CAPABILITY, "dirty-bitmaps", value=True, reason=reason)
    if any(row.idstr == "block" and row.word == "START" for row in walk.sections.rows):
        reason = "section block: the disks' contents are in the stream (QEMU up to 9.0)"
        yield Requirement(Kind.CAPABILITY, "block", value=True, reason=reason)


def _uuid(capture: Capture) -> Iterator[Requirement]:
    walk = capture.survey.walk
    recorded: UUID | None = walk.configuration.uuid if walk and walk.configuration else None
    if recorded is not None:
        yield Requirement(
            Kind.CAPABILITY,
            "validate-uuid",
            True,  # noqa: FBT003
            "the UUID is in the configuration only where the source had this on",
        )
        reason = "the configuration has this UUID, and QEMU refuses another one"
        yield Requirement(Kind.OPTION, "-uuid", str(recorded), reason)
        return
    uuids = {channel.walk.uuid for channel in capture.channels if channel.walk.uuid}
    if len(uuids) == 1:
        reason = "the channels begin with this UUID, and QEMU refuses another one"
        yield Requirement(Kind.OPTION, "-uuid", str(uuids.pop()), reason)


def _multifd(capture: Capture) -> Iterator[Requirement]:
    reason = uses_multifd(capture)
    if reason is None:
        return
    walks = [channel.walk for channel in capture.channels]
    # 3.0 and 3.1 had the feature as an experiment.
    prefix = "x-" if any(walk.layout_2018 for walk in walks) else ""
    yield Requirement(Kind.CAPABILITY, f"{prefix}multifd", value=True, reason=reason)
    ids = [walk.channel_id for walk in walks if walk.channel_id is not None]
    if ids:
        why = f"the highest channel id is {max(ids)}"
        yield Requirement(Kind.PARAMETER, f"{prefix}multifd-channels", max(ids) + 1, why)
    else:
        why = "as many as the source had; the channels' files were not given"
        yield Requirement(Kind.PARAMETER, "multifd-channels", None, why)
    for method in sorted(set().union(*(walk.counters.methods for walk in walks))):
        if method != MultifdCompression.NOCOMP and method in set(MultifdCompression):
            name = MultifdCompression(method).name.lower()
            why = f"the channels' packets are compressed with {name}"
            yield Requirement(Kind.PARAMETER, "multifd-compression", name, why)
    yield from _sync_property(capture)


def _sync_property(capture: Capture) -> Iterator[Requirement]:
    """Ask for the property where its default does not fit: QEMU would wait for ever."""
    walk = capture.survey.walk
    if walk is None:
        return
    version = _machine_version(walk)
    on_by_default = version is not None and version <= _LAST_SYNC_PER_SECTION
    if sync_per_section(capture) and not on_by_default and not _is_older_than_8_1(capture):
        yield Requirement(
            Kind.PROPERTY,
            _FLUSH_PROPERTY,
            "on",
            "the channels are synced at EOS words, which this machine type does not expect",
        )
    elif walk.counters.flush_words and on_by_default:
        yield Requirement(
            Kind.PROPERTY,
            _FLUSH_PROPERTY,
            "off",
            "the channels are synced at MULTIFD_FLUSH words, which this machine type does not "
            "expect",
        )


def _pages(capture: Capture) -> Iterator[Requirement]:
    if _compressed_pages(capture):
        yield Requirement(
            Kind.CAPABILITY,
            "compress",
            True,  # noqa: FBT003
            "pages are COMPRESS_PAGE records, which only QEMU up to 9.0 loads",
        )


def _release(capture: Capture) -> Requirement:
    evidence = list(_loading_evidence(capture))
    releases = possible_releases(evidence)
    # What another piece says more narrowly adds nothing.
    narrow = [p for p in evidence if not any(q.releases < p.releases for q in evidence)]
    reasons = "; ".join(dict.fromkeys(piece.what for piece in narrow))
    return Requirement(
        Kind.RELEASE,
        "QEMU",
        describe_releases(releases) if releases else "none: the parts ask for different releases",
        reasons or "nothing in it asks for a certain release",
    )


def _loading_evidence(capture: Capture) -> Iterator[Evidence]:
    """Yield what a QEMU must know to load the capture."""
    walk = capture.survey.walk
    if walk is not None:
        yield from _of_main_stream(walk)
    if _compressed_pages(capture):
        yield Evidence("COMPRESS_PAGE up to 9.0", between(None, "9.0"))
    kinds = _kinds(capture)
    if kinds.get(PageKind.FILL):
        yield Evidence("pages filled with a byte other than 0, up to 7.2", between(None, "7.2"))
    if _compressed_pages(capture) and kinds.get(PageKind.XBZRLE):
        yield Evidence("COMPRESS_PAGE together with XBZRLE up to 7.2", between(None, "7.2"))
    yield from _of_channels(capture)


def _of_channels(capture: Capture) -> Iterator[Evidence]:
    counters = [channel.walk.counters for channel in capture.channels]
    if any(channel.walk.layout_2018 for channel in capture.channels):
        yield Evidence("multifd as 3.0 and 3.1 had it", between("3.0", "3.1"))
    elif counters:
        yield Evidence("multifd since 4.0", between("4.0", None))
    if any(count.device_state_packets for count in counters):
        yield Evidence("device state on channels since 10.0", between("10.0", None))
    if any(count.zero_pages for count in counters):
        yield Evidence("zero pages on channels since 9.0", between("9.0", None))
    methods = set().union(*(count.methods for count in counters)) if counters else set()
    for method, first in (
        (MultifdCompression.ZLIB, "5.0"),
        (MultifdCompression.ZSTD, "5.0"),
        (MultifdCompression.QPL, "9.1"),
        (MultifdCompression.UADK, "9.1"),
        (MultifdCompression.QATZIP, "9.2"),
    ):
        if method in methods:
            words = f"multifd-compression {method.name.lower()} since {first}"
            yield Evidence(words, between(first, None))


def _of_main_stream(walk: StreamWalk) -> Iterator[Evidence]:
    version = _machine_version(walk)
    if version is not None and walk.configuration is not None:
        release = f"{version[0]}.{version[1]}"
        if release in RELEASES:
            yield Evidence(f"machine type {walk.configuration.machine}", between(release, None))
    if is_mapped(walk):
        yield Evidence("mapped-ram since 9.0", between("9.0", None))
    if walk.ignore_shared:
        yield Evidence("x-ignore-shared since 4.0", between("4.0", None))
    if is_mapped(walk) and walk.ignore_shared:
        # 9.x and 10.0 write this, but their own loader does not read the addr fields.
        yield Evidence("mapped-ram with x-ignore-shared, not 10.0 or older", between("10.1", None))
    if walk.counters.flush_words:
        yield Evidence("MULTIFD_FLUSH since 8.1", between("8.1", None))
    if any(command.name == "SWITCHOVER_START" for command in walk.commands):
        yield Evidence("command SWITCHOVER_START since 10.0", between("10.0", None))


# -- facts ----------------------------------------------------------------------------------------


def _memory(blocks: list[RamBlock]) -> list[RamBlock]:
    """Return the blocks that by their names are no ROM, video memory or part of a device."""
    return [b for b in blocks if not any(word in b.name.lower() for word in _NOT_MAIN_MEMORY)]


def _machine_version(walk: StreamWalk) -> tuple[int, int] | None:
    """Return the release in a machine type (`pc-q35-10.0`), None where it has none."""
    for word in (walk.configuration.machine if walk.configuration else "").split("-")[1:]:
        major, dot, minor = word.partition(".")
        if dot and all(part.isascii() and part.isdigit() for part in (major, minor)):
            return int(major), int(minor)
    return None


def _is_older_than_8_1(capture: Capture) -> bool:
    releases = possible_releases(_loading_evidence(capture))
    return bool(releases) and RELEASES.index(releases[-1]) < RELEASES.index("8.1")


def _kinds(capture: Capture) -> dict[PageKind, int]:
    walk = capture.survey.walk
    total: dict[PageKind, int] = {}
    for block in walk.blocks if walk else ():
        for kind, pages in capture.statistics.block(block.index).pages.items():
            total[kind] = total.get(kind, 0) + pages
    return total


def _compressed_pages(capture: Capture) -> bool:
    """Tell whether there are COMPRESS_PAGE records; uadk's pages on channels look the same."""
    uadk = any(MultifdCompression.UADK in c.walk.counters.methods for c in capture.channels)
    return not uadk and bool(_kinds(capture).get(PageKind.COMPRESSED))


def _has_content(capture: Capture, walk: StreamWalk) -> bool:
    return any(kind != PageKind.ZERO for kind in _kinds(capture)) or not walk.blocks


def _sends_pages(walk: StreamWalk) -> bool:
    return walk.ram_ended and not all(block.addr is not None for block in walk.blocks)


def pages_absent(capture: Capture, walk: StreamWalk) -> bool:
    """Tell whether pages of the main memory were never sent, as far as the files show."""
    block = main_block(walk.blocks)
    if block is None or walk.page_size is None:
        return False
    return capture.statistics.block(block.index).seen_pages < block.pages(walk.page_size.length)
