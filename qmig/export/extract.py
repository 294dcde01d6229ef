"""Extraction as one call: which bytes, in which format, where to, and what came of it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from qmig.capture.page_size import DEFAULT_PAGE_SIZE_LEN
from qmig.capture.plain_ram import plain_ram
from qmig.devices.devices import open_devices
from qmig.errors import MalformedStreamError, WriterError
from qmig.export.blocks import (
    MANIFEST_NAME,
    BlockFile,
    BlockFolder,
    check_folder,
    chosen_blocks,
)
from qmig.export.content import UNIT_LEN
from qmig.export.image import Memory, write_image
from qmig.export.layout import Given, Layout
from qmig.export.lime import lime_image
from qmig.export.machine_layout import guest_layout
from qmig.export.manifest import manifest_pieces
from qmig.export.missing import MissingRanges
from qmig.export.plain_content import PlainContent
from qmig.export.raw import raw_block, raw_image, raw_range
from qmig.migrate.open_output import check_stream, open_stream
from qmig.migrate.output import AtomicFile
from qmig.migrate.output_set import AtomicSet
from qmig.migrate.stream_output import names_stream
from qmig.migrate.target import check_target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from qmig.capture.capture import Capture
    from qmig.capture.ram_view import Ram
    from qmig.export.content import ContentSource
    from qmig.export.image import Segment

    Progress = Callable[[int, int], None]

MANIFEST_SUFFIX: Final = ".manifest.json"


class ExtractFormat(Enum):
    """What is written."""

    BLOCKS = "blocks"
    RAW = "raw"
    LIME = "lime"
    ELF = "elf"


@dataclass(frozen=True, slots=True)
class ExtractOptions:
    """What is taken out, and how.

    Attributes:
        format: what is written.
        blocks: names of the blocks that are wanted; empty: all.
        range: (start, length): guest-physical, or of the one block.
        holes: leave out pages that the capture does not hold, and list them.
        given: what the user knows of the layout.
        force: replace a file that is there.
    """

    format: ExtractFormat = ExtractFormat.BLOCKS
    blocks: Sequence[str] = ()
    range: tuple[int, int] | None = None
    holes: bool = False
    given: Given = field(default_factory=Given)
    force: bool = False


@dataclass(slots=True)
class Extract:
    """What was taken out.

    Attributes:
        format: what was written.
        length: bytes of the image; of all files of the blocks.
        layout: where memory stands; None where it is not known or was not asked for.
        no_layout: why there is none.
        files: the files of the blocks.
        missing: what the capture does not hold.
        manifest: path of the manifest, None where there is none.
        cpus: CPUs whose registers an ELF core has.
        vmcoreinfo: where the kernel's note in an ELF core is known from; None for none.
    """

    format: ExtractFormat
    length: int = 0
    layout: Layout | None = None
    no_layout: str | None = None
    files: list[BlockFile] = field(default_factory=list)
    missing: MissingRanges = field(default_factory=MissingRanges)
    manifest: str | None = None
    cpus: int = 0
    vmcoreinfo: str | None = None


def check_extract(out: str | os.PathLike[str], options: ExtractOptions) -> None:
    """Look whether an extract can be written, before the capture is read; nothing is changed.

    Raises:
        WriterError: the options do not go together.
        OutputRefusedError: something is there already, or it is nothing that can be written to.
        OutputError: its folder is missing, or cannot be written to.
    """
    blocks = options.format is ExtractFormat.BLOCKS
    if options.range is not None and options.format is not ExtractFormat.RAW:
        raise WriterError("--range goes with --format raw")
    if options.blocks and not blocks and options.format is not ExtractFormat.RAW:
        raise WriterError("--block goes with --format blocks and --format raw")
    if options.format is ExtractFormat.RAW and len(options.blocks) > 1:
        raise WriterError("--format raw takes one --block; --format blocks takes any number")
    if blocks:
        if names_stream(out):
            raise WriterError(
                "files of blocks cannot go to standard output, a pipe or a device; "
                "--format raw --block NAME can"
            )
        check_folder(os.fspath(out))
    elif names_stream(out):
        if options.holes:
            raise WriterError("--missing hole needs a file, beside which the manifest stands")
        check_stream(out, force=options.force)
    else:
        check_target(out, force=options.force)


def extract(
    capture: Capture,
    out: str | os.PathLike[str],
    options: ExtractOptions,
    *,
    progress: Progress | None = None,
) -> Extract:
    """Take memory out of a capture; the output is there as a whole, or not at all.

    Args:
        capture: an open capture, which stays open.
        out: a folder for blocks, else a file; "-" is standard output.
        options: what is taken out, and how.
        progress: told (bytes done, bytes in all) now and then.

    Raises:
        WriterError: the options do not go together, or the layout is not known.
        MissingPagesError: the capture does not hold a page, and holes were not asked for.
        StreamError: the capture is damaged.
        OutputError: the output cannot be written; what was there is as it was.
    """
    check_extract(out, options)
    capture.keep_items = True
    _require_own_names(capture)
    found = Extract(options.format)
    content = _content(capture, options)
    if options.format is ExtractFormat.BLOCKS:
        _find_layout(capture, options, found)
        _write_blocks(capture, content, out, options, found, progress)
        return found
    segments, found.length = _planned(capture, options, found)
    if names_stream(out):
        with open_stream(out, force=options.force) as stream:
            write_image(
                segments, found.length, content, stream, progress=_of_all(progress, found.length)
            )
            stream.commit()
        return found
    _write_file(capture, content, out, options, found, segments, progress)
    return found


def _require_own_names(capture: Capture) -> None:
    """Refuse blocks of one name: what a page belongs to is told by names.

    Raises:
        MalformedStreamError: two have the same.
    """
    seen: set[str] = set()
    for block in capture.blocks:
        if block.name in seen:
            raise MalformedStreamError(
                path=capture.stream.source.name,
                offset=block.entry_offset,
                record=f"RAM block list entry {block.index}",
                field="idstr",
                expected="a name that no other block has",
                found=repr(block.name),
            )
        seen.add(block.name)


def _content(capture: Capture, options: ExtractOptions) -> ContentSource:
    """Return where memory comes from: from where it stands if that is easy, else it is read."""
    plain = None if options.holes else plain_ram(capture)
    if plain is not None and plain.page_size_len == UNIT_LEN:  # else holes are no whole pages
        return PlainContent(plain)
    from qmig.export.read_content import ReadContent  # with numpy

    return ReadContent(_ram(capture, options), holes=options.holes)


def _ram(capture: Capture, options: ExtractOptions) -> Ram:
    return capture.partial_ram if options.holes else capture.ram


def _of_all(progress: Progress | None, total: int) -> Callable[[int], None] | None:
    return None if progress is None else lambda done: progress(done, total)


def _find_layout(capture: Capture, options: ExtractOptions, found: Extract) -> None:
    """Note the layout for the manifest, or why it is not known: files of blocks need none."""
    try:
        found.layout = guest_layout(capture, options.given)
    except WriterError as error:
        found.no_layout = str(error)


def _planned(
    capture: Capture, options: ExtractOptions, found: Extract
) -> tuple[Sequence[Segment], int]:
    if options.blocks:
        (block,) = chosen_blocks(capture.blocks, options.blocks)
        start, length = options.range or (0, None)
        found.no_layout = "a block by itself has none"
        return raw_block(block, start, length)
    layout = found.layout = guest_layout(capture, options.given)
    if options.format is ExtractFormat.LIME:
        return lime_image(layout)
    if options.format is ExtractFormat.ELF:
        from qmig.export.elf import elf_core  # with numpy

        ram = _ram(capture, options)
        core = elf_core(open_devices(capture), layout, ram, holes=options.holes)
        found.cpus, found.vmcoreinfo = core.cpus, core.vmcoreinfo
        return core.segments, core.length
    if options.range is not None:
        return raw_range(layout, *options.range)
    return raw_image(layout)


def _write_file(
    capture: Capture,
    content: ContentSource,
    out: str | os.PathLike[str],
    options: ExtractOptions,
    found: Extract,
    segments: Sequence[Segment],
    progress: Progress | None,
) -> None:
    if options.holes:
        ranges = [
            (segment.block, segment.addr, segment.length)
            for segment in segments
            if isinstance(segment, Memory)
        ]
        _look(capture, ranges, found)
    with AtomicSet(force=options.force, durable=False) as files:
        image: AtomicFile = files.open(out)
        write_image(
            segments, found.length, content, image, progress=_of_all(progress, found.length)
        )
        if options.holes:
            found.manifest = f"{os.fspath(out)}{MANIFEST_SUFFIX}"
            manifest = files.open(found.manifest)
            for piece in manifest_pieces(found, _page_size_len(capture)):
                manifest.append(piece)
        files.commit()


def _look(capture: Capture, ranges: Iterable[tuple[str, int, int]], found: Extract) -> None:
    """Note what a capture does not hold of ranges of blocks: name, first byte, bytes."""
    ram = capture.partial_ram
    for name, addr, length in ranges:
        found.missing.look(ram[name], ram.page_size_len, addr, length)


def _page_size_len(capture: Capture) -> int:
    size = capture.stream.page_size
    return size.length if size else DEFAULT_PAGE_SIZE_LEN


def _write_blocks(
    capture: Capture,
    content: ContentSource,
    out: str | os.PathLike[str],
    options: ExtractOptions,
    found: Extract,
    progress: Progress | None,
) -> None:
    blocks = chosen_blocks(capture.blocks, options.blocks)
    total = sum(block.used_length for block in blocks)
    with BlockFolder(out) as folder:
        for block in blocks:
            before = found.length
            if options.holes:
                _look(capture, [(block.name, 0, block.used_length)], found)
            written = folder.write_block(
                block,
                content,
                progress=progress and (lambda done, start=before: progress(start + done, total)),
            )
            found.files.append(written)
            found.length += block.used_length
        folder.commit(manifest_pieces(found, _page_size_len(capture)))
    found.manifest = str(Path(out) / MANIFEST_NAME)
