"""Extraction as one call: `qmig.extract`."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING

from qmig.capture.capture import Capture, open_capture
from qmig.errors import WriterError
from qmig.export.extract import Extract, ExtractFormat, ExtractOptions, check_extract
from qmig.export.extract import extract as take_out
from qmig.export.layout import Given
from qmig.migrate.target import check_not_read

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    PathLike = str | os.PathLike[str]


def extract(
    source: PathLike | Sequence[PathLike] | Capture,
    out: PathLike,
    *,
    format: str = "blocks",  # noqa: A002  # what the user of the call says
    blocks: Sequence[str] = (),
    addresses: tuple[int, int] | None = None,
    holes: bool = False,
    below_4g_len: int | None = None,
    main_ram: Sequence[str] = (),
    place: Mapping[str, int] | None = None,
    without: Sequence[str] = (),
    page_size_len: int | None = None,
    offset: int | None = None,
    force: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Extract:
    """Take guest memory out of a capture; the output is there as a whole, or not at all.

    Args:
        source: a file, the files of one migration, or an open capture, which stays open.
        out: a new folder for blocks, else a file; "-" is standard output.
        format: blocks, raw, lime or elf.
        blocks: names of the RAM blocks that are wanted; empty: all.
        addresses: (start, bytes) with raw: guest-physical, or of the one block.
        holes: leave out pages that the capture does not hold, and list them in a manifest.
        below_4g_len: RAM below 4 GiB of an x86 machine, where the capture does not tell it.
        main_ram: blocks of the main RAM in their order, where that is not known.
        place: block -> guest-physical address, where no capture tells it.
        without: blocks to leave out.
        page_size_len: the target page size in bytes, where the source does not tell it.
        offset: where the stream begins in its file, where that is not byte 0.
        force: replace a file that is there.
        progress: told (bytes done, bytes in all) now and then.

    Returns:
        What was taken out: the layout and where it is known from, files, what is missing.

    Raises:
        WriterError: the options do not go together, or the layout is not known; or the output is
            one of the files to read.
        SourceError: the source cannot be read, or is no migration stream.
        StreamError: the source is damaged.
        MissingPagesError: the capture does not hold a page (without `holes`).
        OutputError: the output cannot be written; what was there is as it was.
    """
    names = [each.value for each in ExtractFormat]
    if format not in names:
        raise WriterError(f"{format!r} is no format; there are {', '.join(names)}")
    options = ExtractOptions(
        ExtractFormat(format),
        blocks=blocks,
        range=addresses,
        holes=holes,
        given=Given(below_4g_len, main_ram, dict(place or {}), without),
        force=force,
    )
    check_extract(out, options)
    with ExitStack() as stack:
        if isinstance(source, Capture):
            capture = source
        else:
            paths = [source] if isinstance(source, str | os.PathLike) else list(source)
            check_not_read(out, paths)
            piped = any(os.fspath(path) == "-" for path in paths)  # its bytes come once
            opened = open_capture(
                *paths, page_size_len=page_size_len, offset=offset, keep_all=piped
            )
            capture = stack.enter_context(opened)
        return take_out(capture, out, options, progress=progress)
