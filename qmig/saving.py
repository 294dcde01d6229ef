"""Save a guest's memory as a stream that a real QEMU restores: files, layout and migrator together.

`save_guest` takes any guest and skeleton; `qmig.conversion` makes both from a capture.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final

from qmig.errors import WriterError
from qmig.migrate.channels import InlineChannels, ThreadChannels
from qmig.migrate.counters import Counters
from qmig.migrate.generations import generation_of
from qmig.migrate.interrupt import StopOnSignals
from qmig.migrate.main_stream import MainStream
from qmig.migrate.migrator import MigrationOptions, Migrator
from qmig.migrate.open_output import check_stream, open_stream
from qmig.migrate.output import AtomicFile
from qmig.migrate.output_set import AtomicSet
from qmig.migrate.stream_output import names_stream
from qmig.migrate.target import check_target
from qmig.wire.libvirt import QemuSaveFormat
from qmig.wire.multifd_flags import MultifdCompression

if TYPE_CHECKING:
    from qmig.memory import RunningGuest
    from qmig.migrate.channels import Channels
    from qmig.migrate.layout import Layout
    from qmig.migrate.main_stream import Output
    from qmig.migrate.migrator import Progress
    from qmig.migrate.skeleton import Skeleton

MOST_CHANNELS: Final = 255  # the id of a channel is one byte, and so is multifd-channels


class OutputFormat(Enum):
    """How the RAM is written."""

    MAPPED_RAM = "mapped-ram"
    STREAM = "stream"
    MULTIFD = "multifd"


@dataclass(frozen=True, slots=True)
class LibvirtOptions:
    """A libvirt image around the stream.

    Attributes:
        xml: the domain's XML.
        cookie: libvirt's cookie, None for none.
        was_running: whether the guest is to run after the restore.
        save_format: how the stream is stored; sparse with mapped-ram, and only with it.
    """

    xml: bytes
    cookie: bytes | None = None
    was_running: bool = False
    save_format: QemuSaveFormat = QemuSaveFormat.RAW


@dataclass(frozen=True, slots=True)
class SaveOptions:
    """What is written, and how.

    Attributes:
        format: mapped-ram, ordinary stream or multifd.
        channels: threads that write pages (mapped-ram), or multifd channels.
        direct_io: write pages past the page cache (mapped-ram).
        generation: QEMU release whose multifd packets and syncs are written; None: the newest.
        compression: of multifd: none, zlib or zstd.
        flush_after_each_section: bring multifd channels into step after each section, as
            multifd-flush-after-each-section does on 8.1 and later.
        xbzrle_cache_len: bytes of the page cache for XBZRLE (ordinary stream); 0: none.
        compress: write pages as compress threads did up to 9.0 (ordinary stream).
        libvirt: a libvirt image around it; None: bare.
        migration: rounds, bandwidth, downtime.
        force: replace files that are there.
    """

    format: OutputFormat
    channels: int = 1
    direct_io: bool = False
    generation: str | None = None
    compression: MultifdCompression = MultifdCompression.NOCOMP
    flush_after_each_section: bool = False
    xbzrle_cache_len: int = 0
    compress: bool = False
    libvirt: LibvirtOptions | None = None
    migration: MigrationOptions = field(default_factory=MigrationOptions)
    force: bool = False


def check_options(out: str | os.PathLike[str], options: SaveOptions) -> None:
    """Raise `WriterError` for what no output can be, before any work is done."""
    mapped = options.format is OutputFormat.MAPPED_RAM
    multifd = options.format is OutputFormat.MULTIFD
    if not 1 <= options.channels <= MOST_CHANNELS:
        raise WriterError(f"{options.channels} channels: it takes 1 to {MOST_CHANNELS}")
    if options.channels > 1 and not (mapped or multifd):
        raise WriterError("an ordinary stream has one channel; --fixed-ram and --multifd have more")
    if names_stream(out) and options.format is not OutputFormat.STREAM:
        raise WriterError(
            f"{out}: {options.format.value} needs a file that can be written at any offset, "
            "and this is a pipe or the like; only the ordinary stream can go there"
        )
    if options.direct_io and not mapped:
        raise WriterError("direct I/O is for --fixed-ram alone")
    if (options.xbzrle_cache_len or options.compress) and (mapped or multifd):
        raise WriterError("XBZRLE and compress-thread pages are for the ordinary stream alone")
    if options.compression is not MultifdCompression.NOCOMP and not multifd:
        raise WriterError("compression zlib and zstd are for --multifd alone")
    if (options.generation is not None or options.flush_after_each_section) and not multifd:
        raise WriterError("generations and flush-after-each-section are for --multifd alone")
    generation = generation_of(options.generation)
    if options.compression is not MultifdCompression.NOCOMP and not generation.compression:
        raise WriterError(f"multifd of {generation.name} has no compression; it came with 5.0")
    if options.libvirt is not None:
        _check_libvirt(out, options, options.libvirt)


def check_output(out: str | os.PathLike[str], options: SaveOptions) -> None:
    """Look whether a save can be written, before a source is read for it; nothing is changed.

    Raises:
        WriterError: the options do not go together.
        OutputRefusedError: a file is there already, or it is nothing that can be written to.
        OutputError: its folder is missing, or cannot be written to.
    """
    check_options(out, options)
    if names_stream(out):
        check_stream(out, force=options.force)
        return
    for path in output_paths(out, options):
        check_target(path, force=options.force)


def output_paths(out: str | os.PathLike[str], options: SaveOptions) -> list[str]:
    """Return the files that a save writes: the main stream, then the channels of a multifd set."""
    channels = options.channels if options.format is OutputFormat.MULTIFD else 0
    return [os.fspath(out), *(channel_path(out, channel) for channel in range(channels))]


def _check_libvirt(
    out: str | os.PathLike[str], options: SaveOptions, libvirt: LibvirtOptions
) -> None:
    if options.format is OutputFormat.MULTIFD or names_stream(out):
        raise WriterError("a libvirt image is one file, and holds no multifd set")
    sparse = libvirt.save_format is QemuSaveFormat.SPARSE
    if sparse != (options.format is OutputFormat.MAPPED_RAM):
        raise WriterError(
            "libvirt's sparse format holds mapped-ram, and its other formats the ordinary stream"
        )


def save_guest(
    guest: RunningGuest,
    skeleton: Skeleton,
    out: str | os.PathLike[str],
    options: SaveOptions,
    *,
    progress: Progress | None = None,
    remarks: list[str] | None = None,
) -> Counters:
    """Save a guest; the output is there as a whole, or not at all.

    Args:
        guest: whose memory goes.
        skeleton: what stands around it.
        out: the file; of a multifd set the main stream, beside which `OUT.ch0` ... lie.
        options: what is written, and how.
        progress: told (counters, block, page) now and then.
        remarks: gets what the user should know of how it was written.

    Raises:
        WriterError: the options, the guest and the output do not go together.
        OutputError: the output cannot be written; what was there is as it was.
        StreamError: pages of a capture are damaged.
        MissingPagesError: a capture does not hold pages that the output must have.
    """
    check_options(out, options)
    _check_guest(guest, options)
    save = _Save(guest, skeleton, options, progress)
    with StopOnSignals(), ExitStack() as stack:
        if names_stream(out):
            sink = stack.enter_context(open_stream(out, force=options.force))
            save.write(sink, sink)
            sink.commit()
            return save.counters
        files = stack.enter_context(AtomicSet(force=options.force))
        main = files.open(out, direct_io=options.direct_io)
        if options.format is OutputFormat.MULTIFD:
            paths = output_paths(out, options)[1:]
            save.channel_outputs = [files.open(path) for path in paths]
        if options.libvirt is None:
            save.write(main, main)
        else:
            _write_libvirt(save, options.libvirt, main)
        files.commit()
        for file in files.files:
            _tell(remarks, file.remarks)
    return save.counters


def _tell(remarks: list[str] | None, found: list[str]) -> None:
    if remarks is not None:
        remarks += found


def channel_path(out: str | os.PathLike[str], channel: int) -> str:
    """Return where the file of a multifd channel goes."""
    return f"{os.fspath(out)}.ch{channel}"


def _check_guest(guest: RunningGuest, options: SaveOptions) -> None:
    if not guest.blocks:
        raise WriterError("the source has no RAM")
    if options.format is not OutputFormat.MAPPED_RAM:
        return
    for block in guest.blocks:
        pages = block.used_length // guest.page_size_len
        if block.addr is not None and not guest.sent(block.index, 0, pages).all():
            raise WriterError(
                f"RAM block {block.name!r} is shared memory that the source does not hold "
                "(x-ignore-shared), and mapped-ram has no such blocks before QEMU 11.0; "
                "give its content with --ram"
            )


def _write_libvirt(save: _Save, libvirt: LibvirtOptions, file: AtomicFile) -> None:
    from qmig.migrate.libvirt_image import LibvirtImage

    image = LibvirtImage(
        libvirt.xml,
        cookie=libvirt.cookie,
        was_running=libvirt.was_running,
        save_format=libvirt.save_format,
    )
    sink = image.begin(file)
    save.write(sink, file, offset=sink.position)
    image.finish()


class _Save:
    """One save: what it is made of."""

    def __init__(
        self,
        guest: RunningGuest,
        skeleton: Skeleton,
        options: SaveOptions,
        progress: Progress | None,
    ) -> None:
        self.counters = Counters()
        self.channel_outputs: list[AtomicFile] = []
        self._guest = guest
        self._skeleton = skeleton
        self._options = options
        self._progress = progress

    def write(self, output: Output, pages_output: Output, *, offset: int = 0) -> None:
        """Write the stream from an offset of the output on."""
        options, skeleton = self._options, self._skeleton
        mapped = options.format is OutputFormat.MAPPED_RAM
        shared = not mapped and any(block.addr is not None for block in self._guest.blocks)
        capabilities = skeleton.recorded(mapped=mapped, ignore_shared=shared)
        stream = MainStream(
            output, offset, footers=skeleton.footers, ram_section_id=skeleton.ram_section_id
        )
        threads = options.channels > 1 or bool(self.channel_outputs)
        channels: Channels = ThreadChannels(options.channels) if threads else InlineChannels()
        try:
            stream.header(skeleton.configuration(capabilities))
            Migrator(
                self._guest,
                skeleton,
                stream,
                self._layout(stream, channels, pages_output),
                options=options.migration,
                counters=self.counters,
                progress=self._progress,
            ).run()
            stream.finish(skeleton.described(capabilities))
        finally:
            channels.close()

    def _layout(self, stream: MainStream, channels: Channels, pages_output: Output) -> Layout:
        options, guest, counters = self._options, self._guest, self.counters
        if options.format is OutputFormat.MAPPED_RAM:
            from qmig.migrate.mapped_ram import MappedRamLayout

            return MappedRamLayout(stream, pages_output, guest, channels, counters)
        if options.format is OutputFormat.MULTIFD:
            from qmig.migrate.multifd import MultifdLayout
            from qmig.migrate.sync import EACH_SECTION

            return MultifdLayout(
                stream,
                self.channel_outputs,
                guest,
                channels,
                counters,
                generation=generation_of(options.generation),
                policy=EACH_SECTION if options.flush_after_each_section else None,
                compression=options.compression,
                uuid=self._skeleton.channel_uuid,
            )
        from qmig.migrate.sequential import SequentialLayout
        from qmig.migrate.xbzrle_sender import XbzrleSender

        xbzrle = None
        if options.xbzrle_cache_len:
            xbzrle = XbzrleSender(options.xbzrle_cache_len, guest, counters)
        return SequentialLayout(stream, guest, counters, compress=options.compress, xbzrle=xbzrle)
