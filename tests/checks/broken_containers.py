"""libvirt images and compressed streams that break one rule of QM5xx each."""

import gzip
from collections.abc import Mapping
from typing import Any, Final

from tests.builders import libvirt, mapped_ram
from tests.builders.machine import around_mapped_ram
from tests.checks.broken_framing import BLOCK, MACHINE, patched, sound
from tests.checks.example import MAIN, Broken, Example, Files, alone

_XML: Final = "<domain><name>guest</name></domain>"
_COOKIE: Final = "<cookie/>"
_VERSION_AT: Final = 16
_DATA_LEN_AT: Final = 20
_FORMAT_AT: Final = 28
_COOKIE_AT: Final = 32


def _stream() -> bytes:
    return sound()[MAIN]


def _image(stream: bytes | None = None, **changes: Any) -> bytes:  # noqa: ANN401  # image's own
    return libvirt.image(
        _XML, _stream() if stream is None else stream, cookie=_COOKIE, padding_len=64, **changes
    )


def _field(at: int, value: int) -> Broken:
    return Broken(alone(patched(_image(), at, value.to_bytes(4, "little"))), at)


def _sound_image() -> Files:
    return alone(_image())


def _no_nul() -> Broken:
    stream = _stream()
    data = _XML.encode()
    image = libvirt.header(len(data)) + data + stream
    return Broken(alone(image), libvirt.HEADER_LEN)


def _cookie_outside() -> Broken:
    area = libvirt.data_area(_XML, _COOKIE, padding_len=64)
    head = libvirt.header(len(area), cookie_offset=len(area) + 1)
    return Broken(alone(head + area + _stream()), _COOKIE_AT)


def _no_stream() -> Broken:
    data = _image(b"this is no stream" + _stream())
    return Broken(alone(data), len(data) - len(_stream()) - len(b"this is no stream"))


def _mapped(fmt: int) -> bytes:
    front, behind = around_mapped_ram(machine=MACHINE)
    area = libvirt.data_area(_XML, padding_len=64)
    image = libvirt.header(len(area), fmt=fmt) + area
    block = mapped_ram.MappedBlock(BLOCK, 16 * 4096, {3: b"\x33" * 4096})
    return mapped_ram.capture_bytes(image + front, [block], behind)


def _cut_gzip() -> Broken:
    data = gzip.compress(_stream(), mtime=0)[:-20]
    return Broken(alone(data), len(data))


EXAMPLES: Final[Mapping[str, Example]] = {
    "QM501": Example(lambda: Broken(alone(_image(magic=libvirt.PARTIAL_MAGIC)), 0), _sound_image),
    "QM502": Example(lambda: _field(_VERSION_AT, 3), _sound_image),
    "QM503": Example(lambda: _field(_FORMAT_AT, 7), _sound_image),
    "QM504": Example(lambda: _field(_DATA_LEN_AT, 0), _sound_image),
    "QM505": Example(_no_nul, _sound_image),
    "QM506": Example(_cookie_outside, _sound_image),
    "QM507": Example(_no_stream, _sound_image),
    "QM508": Example(
        lambda: Broken(alone(_mapped(libvirt.Format.RAW)), _FORMAT_AT),
        lambda: alone(_mapped(libvirt.Format.SPARSE)),
    ),
    "QM509": Example(_cut_gzip, lambda: alone(gzip.compress(_stream(), mtime=0))),
}
