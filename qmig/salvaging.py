"""Salvage: write what is known of a damaged capture as a capture that says what is missing.

The output is an ordinary stream of the same machine. Pages that are known have records, and no
others have; sections that are whole follow; then the section `qmig/salvaged` (`qmig.wire.salvaged`)
which every QEMU refuses. Where the guest is whole there is no such section; of a capture that is
whole it is the ordinary stream that `qmig save --stream` writes.
"""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from typing import TYPE_CHECKING, Final

import numpy as np

from qmig.capture.capture import Capture
from qmig.capture.rescue import rescue
from qmig.capture.rescue_result import Rescue
from qmig.conversion import CARRIED_COMMANDS, chunks_of, skeleton_of
from qmig.errors import UnsupportedStreamError
from qmig.limits import MAX_SECTIONS, MIB
from qmig.migrate.captured import CapturedGuest
from qmig.migrate.counters import Counters
from qmig.migrate.interrupt import StopOnSignals
from qmig.migrate.main_stream import MainStream
from qmig.migrate.migrator import MigrationOptions
from qmig.migrate.open_output import open_stream
from qmig.migrate.output import AtomicFile
from qmig.migrate.sequential import SequentialLayout
from qmig.migrate.skeleton import Skeleton
from qmig.migrate.stream_output import names_stream
from qmig.migrate.target import check_not_read
from qmig.saving import OutputFormat, SaveOptions, check_output, save_guest
from qmig.wire.framing import FooterRecord, QemuVmSection, SectionHead
from qmig.wire.magic import SALVAGED_SECTION
from qmig.wire.record import fast_struct
from qmig.wire.salvaged import (
    SALVAGED_VERSION,
    SalvagedBlock,
    SalvagedDevice,
    SalvagedFlag,
    SalvagedHead,
    SalvagedRange,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from qmig.capture.rescue_sections import FoundElement
    from qmig.capture.source import Source
    from qmig.migrate.main_stream import Output
    from qmig.migrate.migrator import Progress

    PathLike = str | os.PathLike[str]

_STEP_LEN: Final = 8 * MIB  # bytes of guest memory that are written at a time
_MOST_GAP_PAGES: Final = 16  # which take less time to read and leave out than a run takes by itself
_MOST_TEXT_LEN: Final = 4096
_MOST_NAME_LEN: Final = 255
_CONTINUING: Final = (QemuVmSection.SECTION_PART, QemuVmSection.SECTION_END)


@dataclass(frozen=True, slots=True)
class Salvage:
    """What a salvage did.

    Attributes:
        found: what was found; its files are closed.
        counters: what was written.
    """

    found: Rescue
    counters: Counters


def salvage(
    *paths: PathLike,
    out: PathLike,
    page_size_len: int | None = None,
    offset: int | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Salvage:
    """Write what can be had of a damaged capture; the output is there as a whole, or not at all.

    Args:
        paths: the files of one migration, in any order; some may be missing.
        out: the file to write; "-" is standard output.
        page_size_len: the target page size, where the stream does not tell it.
        offset: where the stream begins in its file, where that is not byte 0.
        force: replace a file that is there.
        progress: told (counters, block, page) now and then.

    Returns:
        What was found and what is missing; `found.whole` tells whether everything was there.

    Raises:
        SourceError: no file holds a main stream.
        StreamError: the wrapping of the main stream is damaged, or nothing can be had of it.
        OutputError: the output cannot be written; what was there is as it was.
        WriterError: the output is one of the files to read.
    """
    check_output(out, SaveOptions(OutputFormat.STREAM, force=force))
    check_not_read(out, paths)
    counters = Counters()
    with rescue(*paths, page_size_len=page_size_len, offset=offset) as found:
        write_salvaged(found, out, counters=counters, force=force, progress=progress)
    return Salvage(found, counters)


def write_salvaged(
    found: Rescue,
    out: PathLike,
    *,
    counters: Counters,
    force: bool = False,
    progress: Progress | None = None,
) -> None:
    """Write what was found.

    Args:
        found: what can be had, its files open.
        out: the file to write; "-" is standard output.
        counters: get what is counted.
        force: replace a file that is there.
        progress: told (counters, block, page) now and then.

    Raises:
        UnsupportedStreamError: nothing was found that could be written.
        OutputError: the output cannot be written.
        StreamError: a file has changed since it was looked at.
    """
    if found.whole:
        _write_whole(found, out, counters=counters, force=force, progress=progress)
        return
    kept = kept_elements(found)
    if not found.blocks and not kept:
        raise _nothing_found(found)
    with StopOnSignals(), ExitStack() as stack:
        if names_stream(out):
            sink = stack.enter_context(open_stream(out, force=force))
            _Writer(found, kept, sink, counters, progress).write()
            sink.commit()
        else:
            file = stack.enter_context(AtomicFile(out, force=force))
            _Writer(found, kept, file, counters, progress).write()
            file.commit()


def kept_elements(found: Rescue) -> list[tuple[FoundElement, Source]]:
    """Return the sections and commands that the output has besides RAM."""
    kept: list[tuple[FoundElement, Source]] = []
    opened: set[int] = set()
    for element, source in found.elements:
        if not element.complete or element.is_ram or element.name == SALVAGED_SECTION:
            continue
        if element.kind is QemuVmSection.COMMAND and element.name not in CARRIED_COMMANDS:
            continue
        if element.kind is QemuVmSection.SECTION_START:
            opened.add(element.section_id)
        elif element.kind in _CONTINUING and element.section_id not in opened:
            continue  # its START is lost, without which a stream may not go on with it
        kept.append((element, source))
    return kept


def _write_whole(
    found: Rescue,
    out: PathLike,
    *,
    counters: Counters,
    force: bool,
    progress: Progress | None,
) -> None:
    """Write a capture of which nothing is missing, as `qmig save --stream` does."""
    capture = Capture(found.containers, page_size_len=found.page_size_len)
    guest = CapturedGuest(capture.ram)
    options = SaveOptions(OutputFormat.STREAM, migration=MigrationOptions(static=True), force=force)
    done = save_guest(guest, skeleton_of(capture), out, options, progress=progress)
    amounts = {name.replace("-", "_"): value for name, value in done.as_dict().items()}
    counters.add(**amounts)


def _nothing_found(found: Rescue) -> UnsupportedStreamError:
    return UnsupportedStreamError(
        path=found.main.path,
        offset=found.main.stream_offset,
        record="stream",
        expected="the block list of the RAM, or a section that is whole",
        found="neither",
        hint=str(found.damage[0]) if found.damage else None,
    )


class _Writer:
    """Writes one output."""

    def __init__(
        self,
        found: Rescue,
        kept: list[tuple[FoundElement, Source]],
        output: Output,
        counters: Counters,
        progress: Progress | None,
    ) -> None:
        self._found = found
        self._kept = kept
        self._counters = counters
        self._progress = progress
        used = {element.section_id for element, _ in found.elements}
        ram = [element.section_id for element, _ in found.elements if element.is_ram]
        self._marker_id = next(number for number in count(1) if number not in used)
        self._stream = MainStream(
            output,
            0,
            footers=found.footers,
            ram_section_id=ram[0] if ram else self._marker_id + 1,
        )

    def write(self) -> None:
        """Write all of it."""
        configuration = self._found.configuration
        skeleton = Skeleton(
            machine=configuration.machine if configuration else None,
            target_page_bits=configuration.target_page_bits if configuration else None,
            uuid=configuration.uuid if configuration else None,
        )
        shared = any(view.block.addr is not None for view in self._found.blocks)
        self._stream.header(
            skeleton.configuration(skeleton.recorded(mapped=False, ignore_shared=shared))
        )
        ram_at = self._ram_offset()
        before = [(e, source) for e, source in self._kept if e.offset < ram_at]
        for element, source in before:
            self._carry(element, source)
        if self._found.blocks:
            self._ram()
        for element, source in self._kept[len(before) :]:
            self._carry(element, source)
        body_len = None
        if not self._found.guest_whole:
            body = marker_body(self._found)
            body_len = len(body)
            self._marker(body)
        self._stream.finish(self._vmdescription(body_len))

    def _carry(self, element: FoundElement, source: Source) -> None:
        """Write an element as it stands; the footer of a device anew, for it may be damaged."""
        anew = element.kind is QemuVmSection.SECTION_FULL and self._found.footers
        end = element.body_end if anew else element.end
        self._stream.carry(chunks_of(source, element.offset, end)())
        if anew:
            self._stream.write(FooterRecord(section_id=element.section_id).build())

    def _ram_offset(self) -> int:
        found = [element.offset for element, _ in self._found.elements if element.is_ram]
        return found[0] if found else 0

    def _ram(self) -> None:
        stream, found = self._stream, self._found
        guest = CapturedGuest(found.ram)
        layout = SequentialLayout(stream, guest, self._counters)
        stream.ram_start()
        layout.setup(guest.blocks)
        stream.footer()
        stream.ram_part(QemuVmSection.SECTION_PART)
        step = max(1, _STEP_LEN // found.page_size_len)
        views = {view.name: view for view in found.blocks}
        for index, view in enumerate(views.values()):
            for first, behind, runs in _joined(view.known_runs(), step):
                if len(runs) > 1:
                    wanted = np.zeros(behind - first, dtype=np.bool_)
                    for at, some in runs:
                        wanted[at - first : at - first + some] = True
                    layout.send_some(index, first, wanted)
                for at in range(first, behind if len(runs) == 1 else first, step):
                    layout.send(index, at, min(step, behind - at), first_round=True)
                    if self._progress is not None:
                        self._progress(self._counters, index, min(at + step, behind))
                if self._progress is not None:
                    self._progress(self._counters, index, behind)
        layout.part_end()
        stream.footer()
        stream.ram_part(QemuVmSection.SECTION_END)
        layout.complete()
        stream.footer()

    def _marker(self, body: bytes) -> None:
        head = SectionHead(
            type=int(QemuVmSection.SECTION_FULL),
            section_id=self._marker_id,
            idstr=SALVAGED_SECTION.encode(),
            instance_id=0,
            version_id=SALVAGED_VERSION,
        )
        self._stream.write(head.build())
        self._stream.write(body)
        if self._found.footers:
            self._stream.write(FooterRecord(section_id=self._marker_id).build())

    # -- what is there ----------------------------------------------------------------------------

    def _vmdescription(self, marker_len: int | None) -> bytes:
        """Describe the sections of the output: in QEMU's words where those were found."""
        devices = [
            self._described(element)
            for element, _ in self._kept
            if element.kind is QemuVmSection.SECTION_FULL
        ]
        if marker_len is not None:
            devices.append(_opaque(SALVAGED_SECTION, 0, marker_len))
        head = f'{{"page_size": {self._found.page_size_len}, "devices": ['.encode()
        return head + b", ".join(devices) + b"]}"

    def _described(self, element: FoundElement) -> bytes:
        texts = self._texts.get((element.name, element.instance_id, element.body_len))
        if texts:
            return texts.pop(0)
        return _opaque(element.name, element.instance_id, element.body_len)

    @cached_property
    def _texts(self) -> dict[tuple[str, int, int | None], list[bytes]]:
        """Descriptions of devices by name, instance and length."""
        texts: dict[tuple[str, int, int | None], list[bytes]] = {}
        description = self._found.description
        if description is None:
            return texts
        whole = description.text.decode()
        for device in description.parsed.devices:
            key = (device.name, device.instance_id, device.body_len)
            texts.setdefault(key, []).append(whole[device.start : device.end].encode())
        return texts


def _joined(
    runs: Iterable[tuple[int, int]], most_pages: int
) -> Iterator[tuple[int, int, list[tuple[int, int]]]]:
    """Join runs with little between them; yield [first, behind) of some, and those."""
    joined: list[tuple[int, int]] = []
    start = behind = 0
    for first, pages in runs:
        if joined and (first - behind > _MOST_GAP_PAGES or first + pages - start > most_pages):
            yield start, behind, joined
            joined = []
        if not joined:
            start = first
        joined.append((first, pages))
        behind = first + pages
    if joined:
        yield start, behind, joined


def _opaque(name: str, instance_id: int, length: int) -> bytes:
    """Describe a section as QEMU describes one of which it knows the length alone."""
    fields = [{"name": "data", "size": length, "type": "buffer"}]
    entry = {"name": name, "instance_id": instance_id, "size": length, "fields": fields}
    return json.dumps(entry).encode()


def marker_body(found: Rescue) -> bytes:
    """Return the body of the section that says what is missing."""
    flags = SalvagedFlag(0)
    if found.versions_may_be_old:
        flags |= SalvagedFlag.VERSIONS_MAY_BE_OLD
    if not found.missing_listed:
        flags |= SalvagedFlag.DEVICES_NOT_LISTED
    if any(pages.ranges > len(pages.unknown) for pages in found.maps):
        flags |= SalvagedFlag.RANGES_NOT_LISTED
    if not found.eof:
        flags |= SalvagedFlag.NO_END
    origin = "\n".join(container.path for container in found.containers)
    first = [str(error) for error in found.damage] + found.reasons
    missing = found.missing[:MAX_SECTIONS]
    head = SalvagedHead(
        flags=int(flags),
        lost_ram_len=found.lost_ram_len,
        blocks=len(found.blocks),
        devices=len(missing),
        origin=_bytes(origin)[:_MOST_TEXT_LEN],
        error=_bytes(first[0] if first else "")[:_MOST_TEXT_LEN],
    )
    parts = [head.build()]
    for view, pages in zip(found.blocks, found.maps, strict=True):
        block = SalvagedBlock(
            idstr=_bytes(view.name),
            known_pages=pages.known_pages,
            unknown_pages=pages.unknown_pages,
            ranges=len(pages.unknown),
        )
        parts.append(block.build())
        pack = fast_struct(SalvagedRange).pack
        parts += [pack(first, number) for first, number in pages.unknown]
    for device in missing:
        record = SalvagedDevice(
            idstr=_bytes(device.name)[:_MOST_NAME_LEN], instance_id=device.instance_id
        )
        parts.append(record.build())
    return b"".join(parts)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
