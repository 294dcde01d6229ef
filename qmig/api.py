"""Saving as one call: `qmig.save`."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from qmig.errors import WriterError
from qmig.migrate.migrator import MigrationOptions
from qmig.saving import LibvirtOptions, OutputFormat, SaveOptions, check_output, save_guest
from qmig.wire.libvirt import QemuSaveFormat
from qmig.wire.multifd_flags import MultifdCompression

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qmig.capture.capture import Capture
    from qmig.migrate.counters import Counters
    from qmig.migrate.migrator import Progress

    PathLike = str | os.PathLike[str]

_COMPRESSIONS = {
    "none": MultifdCompression.NOCOMP,
    "zlib": MultifdCompression.ZLIB,
    "zstd": MultifdCompression.ZSTD,
}


def save(
    source: PathLike | Sequence[PathLike] | Capture,
    out: PathLike,
    *,
    format: str = "mapped-ram",  # noqa: A002  # what the user of the call says
    channels: int = 1,
    direct_io: bool = False,
    generation: str | None = None,
    compression: str = "none",
    flush_after_each_section: bool = False,
    compress: bool = False,
    libvirt: str | None = None,
    libvirt_xml: bytes | None = None,
    libvirt_cookie: bytes | None = None,
    ram: Mapping[str, PathLike] | None = None,
    max_bandwidth: int | None = None,
    page_size_len: int | None = None,
    offset: int | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Counters:
    """Save a capture again, in the format of choice; the output is there as a whole, or not at all.

    Args:
        source: a file, the files of one migration, or an open capture, which stays open.
        out: the file; of a multifd set the main stream, beside which `OUT.ch0` ... lie; "-" is
            standard output (ordinary stream alone).
        format: mapped-ram, stream or multifd.
        channels: threads that write pages (mapped-ram), or multifd channels.
        direct_io: write pages past the page cache (mapped-ram).
        generation: QEMU release whose multifd packets and syncs are written; None: the newest.
        compression: of multifd: none, zlib or zstd.
        flush_after_each_section: bring multifd channels into step after each section.
        compress: write pages as compress threads did up to 9.0 (ordinary stream).
        libvirt: put it into a libvirt image of this format (raw, gzip, bzip2, xz, lzop, zstd or
            sparse); None: bare.
        libvirt_xml: the domain's XML; None: that of the source.
        libvirt_cookie: libvirt's cookie; None: that of the source, if it has one.
        ram: block name -> raw dump that stands for the block's memory in the source.
        max_bandwidth: bytes a second; None: as fast as it goes.
        page_size_len: the target page size, where the source does not tell it.
        offset: where the stream begins in its file, where that is not byte 0.
        force: replace files that are there.
        progress: told (counters, block, page) now and then.

    Returns:
        What was counted, under QEMU's names.

    Raises:
        WriterError: the options, the source and the output do not go together.
        StreamError: the source is damaged.
        SourceError: the source cannot be read, or is no migration stream.
        MissingPagesError: the source does not hold pages that the output must have.
        OutputError: the output cannot be written; what was there is as it was.
    """
    from qmig.capture.capture import Capture, open_capture
    from qmig.guest_source import captured_source, libvirt_options

    options = SaveOptions(
        output_format(format),
        channels=channels,
        direct_io=direct_io,
        generation=generation,
        compression=multifd_compression(compression),
        flush_after_each_section=flush_after_each_section,
        compress=compress,
        libvirt=LibvirtOptions(b"", save_format=save_format(libvirt)) if libvirt else None,
        migration=MigrationOptions(max_bandwidth=max_bandwidth, static=True),
        force=force,
    )
    check_output(out, options)
    with ExitStack() as stack:
        if isinstance(source, Capture):
            capture = source
        else:
            paths = [source] if isinstance(source, str | os.PathLike) else list(source)
            opened = open_capture(*paths, page_size_len=page_size_len, offset=offset, keep_all=True)
            capture = stack.enter_context(opened)
        found = stack.enter_context(captured_source(capture, ram))
        if options.libvirt is not None:
            image = libvirt_options(
                found, options.libvirt.save_format, xml=libvirt_xml, cookie=libvirt_cookie
            )
            options = replace(options, libvirt=image)
        return save_guest(found.guest, found.skeleton, out, options, progress=progress)


def output_format(name: str) -> OutputFormat:
    """Return an output format by its name.

    Raises:
        WriterError: there is none of that name.
    """
    try:
        return OutputFormat(name)
    except ValueError:
        raise WriterError(
            f"{name!r} is no format; there are {', '.join(f.value for f in OutputFormat)}"
        ) from None


def multifd_compression(name: str) -> MultifdCompression:
    """Return a compression by QEMU's name (`multifd-compression`).

    Raises:
        WriterError: there is none of that name that can be written.
    """
    if name not in _COMPRESSIONS:
        raise WriterError(f"{name!r} is no compression; there are {', '.join(_COMPRESSIONS)}")
    return _COMPRESSIONS[name]


def save_format(name: str) -> QemuSaveFormat:
    """Return a format of libvirt's images by its name (`save_image_format` in qemu.conf).

    Raises:
        WriterError: there is none of that name.
    """
    names = {member.name.lower(): member for member in QemuSaveFormat}
    if name not in names:
        raise WriterError(f"{name!r} is no format of libvirt; there are {', '.join(names)}")
    return names[name]
