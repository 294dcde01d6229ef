"""The sections of two captures against each other.

Sections are matched by name and instance. Their order, their ids and how they were framed are
those of the encoding and not of the guest, and are not compared; neither are commands.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from qmig.capture.records import PageBatch
from qmig.capture.sections import is_salvaged
from qmig.comparison.fields import FieldComparer, fact_differences
from qmig.comparison.live_content import LiveContent
from qmig.comparison.model import (
    FieldDifference,
    OnlySection,
    SectionDifference,
    Side,
    What,
)
from qmig.devices import open_devices
from qmig.devices.live_facts import live_facts
from qmig.limits import MIB
from qmig.wire.framing import PartHead, QemuVmSection, SectionHead
from qmig.wire.magic import SALVAGED_SECTION

if TYPE_CHECKING:
    from qmig.capture.capture import Capture
    from qmig.capture.sections import Section
    from qmig.comparison.ignoring import Ignored
    from qmig.comparison.model import Comparison
    from qmig.devices import Device, Devices

Key = tuple[str, int, int]  # name, instance, and the how manieth of them

_RAM: Final = "ram"
_FRAMES: Final = ("section header", "section footer")
_LIVE: Final = "it has a grammar of its own, and no description"


def compare_sections(a: Capture, b: Capture, ignored: Ignored, found: Comparison) -> None:
    """Compare the sections of two captures, those of RAM by their versions alone.

    Raises:
        SourceError: a capture has no main stream, or is a pipe that was not kept.
    """
    devices_a, devices_b = open_devices(a), open_devices(b)
    mine, theirs = _rows(a), _rows(b)
    for key in [*mine, *(key for key in theirs if key not in mine)]:
        row_a, row_b = mine.get(key), theirs.get(key)
        if row_a is not None and row_b is not None:
            found.sections_in_both += 1
        else:
            _only(row_a, row_b, a, b, ignored, found)
    bodies = _Bodies.of(a, b)
    for key, device_a, device_b in _pairs(devices_a, devices_b):
        difference = SectionDifference(key[0], key[1], (device_a.version_id, device_b.version_id))
        FieldComparer(device_a, device_b, ignored, difference).compare()
        _keep(difference, ignored, found)
        device_a.forget()
        device_b.forget()
    for key, row_a in mine.items():
        row_b = theirs.get(key)
        if row_b is not None and QemuVmSection.SECTION_START in (row_a.kind, row_b.kind):
            difference = SectionDifference(key[0], key[1], (row_a.version_id, row_b.version_id))
            if key[0] != _RAM:
                bodies.compare(key, difference, ignored)
            _keep(difference, ignored, found)


def _rows(capture: Capture) -> dict[Key, Section]:
    """Return what opens a handler, or is all of it: FULL and START sections."""
    found: dict[Key, Section] = {}
    for row in capture.stream.sections.rows:
        if row.idstr == SALVAGED_SECTION:  # it tells of the capture, and not of the guest
            continue
        whole = row.kind == QemuVmSection.SECTION_FULL and row.complete
        if whole or row.kind == QemuVmSection.SECTION_START:
            found[_key(found, row.idstr, row.instance_id)] = row
    return found


def _key(known: dict[Key, Section] | dict[Key, Device], name: str, instance_id: int) -> Key:
    nth = 0
    while (name, instance_id, nth) in known:
        nth += 1
    return name, instance_id, nth


def _pairs(a: Devices, b: Devices) -> list[tuple[Key, Device, Device]]:
    mine: dict[Key, Device] = {}
    theirs: dict[Key, Device] = {}
    for devices, known in ((a, mine), (b, theirs)):
        for device in devices:
            if device.name == SALVAGED_SECTION:
                continue
            known[_key(known, device.name, device.instance_id)] = device
    return [(key, mine[key], theirs[key]) for key in mine if key in theirs]


def _only(
    row_a: Section | None,
    row_b: Section | None,
    a: Capture,
    b: Capture,
    ignored: Ignored,
    found: Comparison,
) -> None:
    row, side, other = (row_a, Side.A, b) if row_a is not None else (row_b, Side.B, a)
    if row is None:
        return
    certain = not other.errors and not is_salvaged(other.stream)
    only = OnlySection(side, row.idstr, row.instance_id, row.version_id, row.length, certain)
    if ignored.path(only.path):
        found.only_ignored += 1
    else:
        found.only.append(only)


def _keep(difference: SectionDifference, ignored: Ignored, found: Comparison) -> None:
    if difference.versions[0] != difference.versions[1] and ignored.path(difference.path):
        difference.versions = (difference.versions[0], difference.versions[0])
        difference.fields_ignored += 1
    if difference.differs or difference.fields_ignored:
        found.sections.append(difference)


@dataclass
class _Digest:
    """The bytes of a live section without heads and footers, and what they come to, as digests."""

    length: int = 0
    digest: bytes = b""
    content: bytes | None = None


@dataclass
class _Bodies:
    """What live sections hold, of two captures."""

    a: Capture
    b: Capture
    digests: tuple[dict[Key, _Digest], dict[Key, _Digest]] = field(default_factory=lambda: ({}, {}))

    @classmethod
    def of(cls, a: Capture, b: Capture) -> _Bodies:
        return cls(a, b, (_digests(a), _digests(b)))

    def compare(self, key: Key, difference: SectionDifference, ignored: Ignored) -> None:
        """Compare all parts of a section as bytes; what they mean is told beside it."""
        mine, theirs = (digests.get(key, _Digest()) for digests in self.digests)
        if mine == theirs or (mine.content is not None and mine.content == theirs.content):
            return
        difference.undecoded = _LIVE
        if ignored.path(difference.path):
            difference.fields_ignored += 1
            return
        text_a, text_b = (f"{one.length} bytes in all its parts" for one in (mine, theirs))
        difference.fields.append(
            FieldDifference(difference.path, "live section", What.LAYOUT, text_a, text_b)
        )
        difference.facts = list(fact_differences(live_facts(self.a), live_facts(self.b)))


def _digests(capture: Capture) -> dict[Key, _Digest]:
    """Walk the main stream once more where it has live sections other than RAM."""
    rows = capture.stream.sections.rows
    live = {
        row.section_id: (row.idstr, row.instance_id, 0)
        for row in rows
        if row.kind == QemuVmSection.SECTION_START and row.idstr != _RAM
    }
    if not live:
        return {}
    hashes = {key: sha256() for key in live.values()}
    found = {key: _Digest() for key in live.values()}
    read, current = capture.stream.source.read_at, None
    contents = {key: LiveContent(read) for key in live.values()}
    for item in capture.records():
        if isinstance(item, PageBatch):
            continue
        if isinstance(item.wire, SectionHead | PartHead):
            current = live.get(item.wire.section_id)
        elif item.name not in _FRAMES and current is not None:
            end = item.offset + item.length
            for at in range(item.offset, end, MIB):
                hashes[current].update(read(at, min(MIB, end - at)))
            found[current].length += item.length
            contents[current].add(item)
        else:
            current = None
    for key, one in found.items():
        one.digest = hashes[key].digest()
        one.content = contents[key].digest()
    return found
