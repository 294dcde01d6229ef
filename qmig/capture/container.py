"""What wraps a stream: nothing, libvirt's save image, a compressor, zeros in front. Peel it.

`open_container` returns where the stream begins, in which source, and the records of the wrapping,
so that every byte of the file has its name.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from qmig.capture.kinds import (
    CHANNEL_MAGIC,
    LIBVIRT_MAGICS,
    STREAM_MAGIC,
    STREAM_STARTS,
    describe_foreign,
    looks_like_preempt,
    looks_like_recovery,
    looks_like_stream,
    may_hide_stream,
)
from qmig.capture.source import Cursor, FileSource, Source, source_name
from qmig.errors import (
    LimitExceededError,
    MalformedStreamError,
    SourceError,
    StreamError,
    UnsupportedStreamError,
)
from qmig.faults import Fault
from qmig.limits import MAX_CONTAINER_DEPTH, MAX_LIBVIRT_DATA_LEN, MAX_STREAM_START_OFFSET, MIB
from qmig.wire.gate import read_record
from qmig.wire.libvirt import (
    LIBVIRT_SAVE_HEADER_SWAPPED,
    QEMU_SAVE_VERSION,
    LibvirtSaveHeader,
    QemuSaveFormat,
)
from qmig.wire.magic import QEMU_SAVE_PARTIAL, codec_of
from qmig.wire.record import field_table, fixed_len

_HEAD_LEN: Final = 512
_LIBVIRT_CODECS: Final[dict[QemuSaveFormat, str]] = {
    QemuSaveFormat.GZIP: "gzip",
    QemuSaveFormat.BZIP2: "bzip2",
    QemuSaveFormat.XZ: "xz",
    QemuSaveFormat.LZOP: "lzop",
    QemuSaveFormat.ZSTD: "zstd",
}


class Role(Enum):
    """What a file is in a migration, found from its content."""

    MAIN = "main"
    CHANNEL = "channel"
    RECOVERY = "recovery"  # what a postcopy migration goes on with on a new connection
    PREEMPT = "preempt"  # requested pages of a postcopy migration


@dataclass(frozen=True)
class Span:
    """Bytes of a file that belong to one record.

    Attributes:
        offset: first byte.
        length: number of bytes.
        record: what they are.
    """

    offset: int
    length: int
    record: str


@dataclass(frozen=True)
class LibvirtImage:
    """libvirt's header and what stands behind it.

    Attributes:
        header: the header as it stands there.
        big_endian: whether a big-endian host wrote it.
        partial: whether the save was not finished.
        xml: the domain's XML.
        cookie: libvirt's cookie XML, None where there is none.
        padding_len: bytes of padding behind them.
    """

    header: LibvirtSaveHeader
    big_endian: bool
    partial: bool
    xml: bytes
    cookie: bytes | None
    padding_len: int

    @property
    def format_name(self) -> str:
        """Libvirt's name of the format (`save_image_format` in qemu.conf)."""
        if self.header.version < QEMU_SAVE_VERSION:
            return "raw"
        return QemuSaveFormat(self.header.format).name.lower()


@dataclass
class Container:
    """A file with its wrapping taken off.

    Attributes:
        path: the file as the user named it; "-" is standard input.
        role: what the stream in it is.
        source: where the stream is; offsets of all its records count in this source.
        stream_offset: where it begins.
        layers: names of what wraps it, from the outside ("libvirt", "zstd"); empty: bare.
        spans: records of the wrapping in front of the stream, in the outermost file.
        libvirt: the libvirt image, where it is one.
        outer: the source that the file itself is.
        description_end: where the search for the stream's vmdescription ends, because one that
            stands there belongs to another stream; None: the end of the data.
    """

    path: str
    role: Role
    source: Source
    stream_offset: int
    outer: Source
    layers: list[str] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    libvirt: LibvirtImage | None = None
    description_end: int | None = None

    @property
    def compressed(self) -> bool:
        """Whether offsets are those of decompressed data."""
        return self.source is not self.outer

    def close(self) -> None:
        """Close all sources."""
        self.source.close()
        self.outer.close()


def open_container(
    path: str | os.PathLike[str], *, keep_all: bool = False, offset: int | None = None
) -> Container:
    """Open a file and take its wrapping off.

    Args:
        path: a file, a block device, or "-" for standard input.
        keep_all: make pipes and decompressors seekable, by a temporary file.
        offset: where the stream begins, when that is known (`file:PATH,offset=N`).

    Raises:
        SourceError: it cannot be read, or is no migration stream; says what it seems to be.
        StreamError: the wrapping is damaged.
    """
    name = source_name(path)
    outer: Source
    if os.fspath(path) == "-":
        from qmig.capture.forward_source import ForwardSource, iter_file

        if sys.stdin is None:
            raise SourceError("is closed", path=name)
        outer = ForwardSource(iter_file(sys.stdin.buffer), name=name, keep_all=keep_all)
    else:
        outer = FileSource(path)
    container = Container(name, Role.MAIN, outer, offset or 0, outer)
    try:
        _peel(container, keep_all=keep_all)
    except (SourceError, StreamError):
        container.close()
        raise
    return container


def _peel(container: Container, *, keep_all: bool) -> None:
    for _ in range(MAX_CONTAINER_DEPTH + 1):  # the last one finds the stream
        head = container.source.read_at(container.stream_offset, _HEAD_LEN)
        if head.startswith(STREAM_MAGIC):
            return
        role = _role_without_magic(head)
        if role is not None:
            container.role = role
            return
        codec = codec_of(head)
        if head.startswith(LIBVIRT_MAGICS):
            codec = _peel_libvirt(container)
            if codec is None:
                _check_begins(container)
                return
        elif codec is None:
            _find_start(container, head)
            continue
        _decompress(container, codec, keep_all=keep_all)
    raise UnsupportedStreamError(
        path=container.path,
        offset=container.stream_offset,
        record="container",
        expected=f"at most {MAX_CONTAINER_DEPTH} wrappers around a stream",
        found=" in ".join(reversed(container.layers)),
    )


def _role_without_magic(head: bytes) -> Role | None:
    """Tell what a connection is that is not the main one."""
    if head.startswith(CHANNEL_MAGIC):
        return Role.CHANNEL
    if looks_like_recovery(head):
        return Role.RECOVERY
    return Role.PREEMPT if looks_like_preempt(head) else None


def _decompress(container: Container, codec: str, *, keep_all: bool) -> None:
    from qmig.capture.decompress import iter_plain
    from qmig.capture.forward_source import ForwardSource

    inner = container.source
    container.layers.append(codec)
    container.source = ForwardSource(
        iter_plain(inner, container.stream_offset, codec),
        name=f"{container.path} ({codec})",
        keep_all=keep_all,
    )
    container.stream_offset = 0


def _find_start(container: Container, head: bytes) -> None:
    """Find a stream further back in the file, or say what the file is."""
    what, hint = describe_foreign(head)
    source = container.source
    if source.failure is not None:
        raise source.failure
    start = _search_start(source, container.stream_offset) if may_hide_stream(head) else None
    if start is None and looks_like_stream(head):
        raise MalformedStreamError(
            path=source.name,
            offset=container.stream_offset,
            record="file header",
            field="magic",
            expected="51 45 56 4d (QEVM)",
            found=head[: len(STREAM_MAGIC)].hex(" "),
            hint="the rest of the header is that of a migration stream",
            fault=Fault.STREAM_MAGIC,
        )
    if start is None:
        raise SourceError(
            f"0x{container.stream_offset:08x} is no migration stream: it seems to be {what}",
            path=source.name,
            hint=hint or None,
        )
    front_len = start - container.stream_offset
    container.spans.append(Span(container.stream_offset, front_len, "bytes before the stream"))
    container.layers.append(f"{front_len} bytes in front")
    container.stream_offset = start


def _search_start(source: Source, offset: int) -> int | None:
    """Return where a stream or a libvirt image begins behind `offset` (file:PATH,offset=N)."""
    end = source.end()
    limit = offset + MAX_STREAM_START_OFFSET
    overlap = 16
    while offset < limit and (end is None or offset < end):
        if isinstance(source, FileSource):
            offset = source.next_data(offset)
        data = source.read_at(offset, MIB + overlap)
        starts = [at for start in STREAM_STARTS if 0 <= (at := data.find(start)) < MIB]
        if starts:
            return offset + min(starts)
        if len(data) <= MIB:
            return None
        offset += MIB
    return None


def _peel_libvirt(container: Container) -> str | None:
    """Read libvirt's header; return the codec of what follows, None where it is bare."""
    cursor = Cursor(container.source, container.stream_offset)
    start = cursor.offset
    header, big_endian = _libvirt_header(cursor)
    _check_libvirt_header(container, header, start)
    data = cursor.read_exact(header.data_len, what="libvirt image", field="XML")
    image, spans = _libvirt_data(header, data, start, big_endian=big_endian)
    container.libvirt = image
    container.layers.append("libvirt")
    container.spans += [Span(start, fixed_len(LibvirtSaveHeader), "libvirt header"), *spans]
    container.stream_offset = cursor.offset
    if header.version < QEMU_SAVE_VERSION:
        return None
    return _LIBVIRT_CODECS.get(QemuSaveFormat(header.format))


def _libvirt_header(cursor: Cursor) -> tuple[LibvirtSaveHeader, bool]:
    start = cursor.offset
    header = read_record(cursor, LibvirtSaveHeader, what="libvirt header")
    if header.version <= QEMU_SAVE_VERSION:
        return header, False
    cursor.offset = start
    swapped = read_record(cursor, LIBVIRT_SAVE_HEADER_SWAPPED, what="libvirt header")
    return (swapped, True) if swapped.version <= QEMU_SAVE_VERSION else (header, False)


def _check_libvirt_header(container: Container, header: LibvirtSaveHeader, start: int) -> None:
    table = field_table(LibvirtSaveHeader)

    def wrong(
        kind: type[MalformedStreamError], name: str, expected: str, fault: Fault | None
    ) -> MalformedStreamError:
        return kind(
            path=container.source.name,
            offset=start + table[name][0],
            record="libvirt header",
            field=name,
            expected=expected,
            found=str(getattr(header, name)),
            fault=fault,
            values={name: getattr(header, name)},
        )

    if header.version > QEMU_SAVE_VERSION:
        most = f"at most {QEMU_SAVE_VERSION}"
        raise wrong(MalformedStreamError, "version", most, Fault.LIBVIRT_VERSION)
    if header.data_len == 0:
        raise wrong(MalformedStreamError, "data_len", "at least 1", Fault.LIBVIRT_DATA_LEN)
    if header.data_len > MAX_LIBVIRT_DATA_LEN:
        raise wrong(LimitExceededError, "data_len", f"at most {MAX_LIBVIRT_DATA_LEN}", None)
    if header.version == QEMU_SAVE_VERSION and header.format not in set(QemuSaveFormat):
        raise wrong(MalformedStreamError, "format", "0 raw to 6 sparse", Fault.LIBVIRT_FORMAT)


def _libvirt_data(
    header: LibvirtSaveHeader, data: bytes, start: int, *, big_endian: bool
) -> tuple[LibvirtImage, list[Span]]:
    """Cut the data behind the header into XML, cookie and padding."""
    base = start + fixed_len(LibvirtSaveHeader)
    xml_len = data.find(b"\0") + 1 or len(data)
    spans = [Span(base, xml_len, "libvirt XML")]
    cookie: bytes | None = None
    end = xml_len
    if xml_len <= header.cookieOffset < len(data):
        if header.cookieOffset > xml_len:
            spans.append(Span(base + xml_len, header.cookieOffset - xml_len, "libvirt padding"))
        end = data.find(b"\0", header.cookieOffset) + 1 or len(data)
        cookie = data[header.cookieOffset : end].rstrip(b"\0")
        cookie_len = end - header.cookieOffset
        spans.append(Span(base + header.cookieOffset, cookie_len, "libvirt cookie"))
    if end < len(data):
        spans.append(Span(base + end, len(data) - end, "libvirt padding"))
    image = LibvirtImage(
        header=header,
        big_endian=big_endian,
        partial=header.magic == QEMU_SAVE_PARTIAL,
        xml=data[:xml_len].rstrip(b"\0"),
        cookie=cookie,
        padding_len=len(data) - end,
    )
    return image, spans


def _check_begins(container: Container) -> None:
    head = container.source.read_at(container.stream_offset, len(STREAM_MAGIC))
    if head == STREAM_MAGIC:
        return
    partial = container.libvirt is not None and container.libvirt.partial
    raise MalformedStreamError(
        path=container.source.name,
        offset=container.stream_offset,
        record="stream behind the libvirt header",
        field="magic",
        expected="QEVM",
        found=head.hex(" ") or "end of file",
        hint="the save was not finished" if partial else None,
        fault=Fault.LIBVIRT_UNFINISHED if partial else Fault.LIBVIRT_STREAM,
    )
