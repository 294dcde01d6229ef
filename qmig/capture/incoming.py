"""How a QEMU can be given the bytes of a capture: the URI for `migrate-incoming`, or why none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from qmig.capture.container import Role
from qmig.capture.requirements import is_mapped, uses_multifd
from qmig.capture.sections import is_salvaged

if TYPE_CHECKING:
    from qmig.capture.capture import Capture
    from qmig.capture.container import Container

_FILTERS: Final = {name: f"{name} -dc" for name in ("gzip", "bzip2", "xz", "lzop", "zstd")}
_ONE_WAY_ONLY: Final = ("OPEN_RETURN_PATH", "PING")


class Incoming(NamedTuple):
    """How a QEMU can be given a capture.

    Attributes:
        uri: for `migrate-incoming`; None where no URI of QEMU's fits.
        reason: why not, or what to know about it.
        virsh: libvirt's command, where the file is a libvirt image.
    """

    uri: str | None
    reason: str
    virsh: str | None = None


def incoming(capture: Capture) -> Incoming:
    """Return how a QEMU can be given a capture."""
    main = capture.main
    walk = capture.survey.walk
    if main is None or walk is None:
        return Incoming(None, "the main stream is missing")
    if is_salvaged(walk):
        return Incoming(
            None, "no QEMU loads what was salvaged: parts of the guest are missing in it"
        )
    image = main.libvirt
    virsh = None
    if image is not None and not image.partial and main.layers[0] == "libvirt":
        virsh = f"virsh restore {quoted(main.path)}"
    if walk.error is not None and walk.eof_offset is None and not capture.recovery_files:
        return Incoming(
            None, "the stream cannot be read to its end, and QEMU would refuse it", virsh
        )
    if uses_multifd(capture) is not None:
        return Incoming(
            None,
            "send each file over a connection of its own to one socket, the main stream first "
            "(migrate-incoming unix:SOCKET)",
            virsh,
        )
    if any(command.name in _ONE_WAY_ONLY for command in walk.commands):
        return Incoming(
            None, "QEMU answers on the same connection: a file or pipe does not do", virsh
        )
    if any(container.role is not Role.MAIN for container in capture.files):
        return Incoming(None, "the migration went over several connections", virsh)
    if main.path == "standard input":
        return Incoming(None, "it was read from a pipe, whose origin is not known", virsh)
    return _mapped(main, virsh) if is_mapped(walk) else _piped(main, virsh)


def _mapped(main: Container, virsh: str | None) -> Incoming:
    if main.compressed:
        return Incoming(None, "mapped-ram cannot be loaded from compressed data", virsh)
    offset = f",offset={main.stream_offset}" if main.stream_offset else ""
    return Incoming(f"file:{main.path}{offset}", "mapped-ram needs the file itself", virsh)


def _piped(main: Container, virsh: str | None) -> Incoming:
    codecs = [layer for layer in main.layers if layer in _FILTERS]
    start = main.stream_offset
    if main.compressed:
        first = next(at for at, layer in enumerate(main.layers) if layer in _FILTERS)
        if first != len(main.layers) - len(codecs):
            return Incoming(None, "unpack it first: a header stands inside the compressed data")
        start = max((span.offset + span.length for span in main.spans), default=0)
    head = f"tail -c +{start + 1}" if start else "cat"
    filters = [_FILTERS[codec] for codec in codecs]
    if filters and not start:
        head = filters.pop(0)
    command = " | ".join([f"{head} {quoted(main.path)}", *filters])
    return Incoming(f"exec:{command}", "QEMU reads what the command prints", virsh)


def quoted(path: str) -> str:
    """Return a path as a shell takes it."""
    if path.replace("/", "").replace("-", "").replace(".", "").replace("_", "").isalnum():
        return path
    from shlex import quote

    return quote(path)
