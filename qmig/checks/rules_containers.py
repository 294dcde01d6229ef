"""QM5xx: what wraps a stream."""

from __future__ import annotations

from typing import Final

from qmig.checks.rule import Outcome, Rule, Severity
from qmig.faults import Fault

_ERROR: Final = Severity.ERROR
_LIBVIRT: Final = "libvirt"
_OPEN: Final = "libvirt, src/qemu/qemu_saveimage.c: qemuSaveImageReadMetadata, 12.0"

RULES: Final[tuple[Rule, ...]] = (
    Rule(
        "QM501",
        "have the magic of a finished libvirt image",
        _ERROR,
        "libvirt writes `LibvirtQemudPart` first and `LibvirtQemudSave` over it when all is saved. "
        "It removes or refuses an image that was not finished; the stream in it may be whole.",
        _OPEN,
        Outcome.NOT_ASKED,
        "save image is incomplete",
        frozenset({Fault.LIBVIRT_UNFINISHED}),
        speaker=_LIBVIRT,
    ),
    Rule(
        "QM502",
        "have version 1 or 2 of libvirt's header, in one byte order or the other",
        _ERROR,
        "There is no other version so far.",
        _OPEN,
        Outcome.NOT_ASKED,
        "image version is not supported ({version} > 2)",
        frozenset({Fault.LIBVIRT_VERSION}),
        speaker=_LIBVIRT,
    ),
    Rule(
        "QM503",
        "have a format that libvirt knows",
        _ERROR,
        "0 raw, 1 gzip, 2 bzip2, 3 xz, 4 lzop, 5 zstd, 6 sparse.",
        _OPEN,
        Outcome.NOT_ASKED,
        "unsupported save image format: {format}",
        frozenset({Fault.LIBVIRT_FORMAT}),
        speaker=_LIBVIRT,
    ),
    Rule(
        "QM504",
        "have data between libvirt's header and the stream",
        _ERROR,
        "The domain's XML stands there; `data_len` says how long it is with what follows it.",
        _OPEN,
        Outcome.NOT_ASKED,
        "invalid header data length: {data_len}",
        frozenset({Fault.LIBVIRT_DATA_LEN}),
        speaker=_LIBVIRT,
    ),
    Rule(
        "QM505",
        "end the XML of a libvirt image with a NUL",
        Severity.WARNING,
        "libvirt takes what stands there for a string.",
        _OPEN,
        Outcome.NOT_ASKED,
        speaker=_LIBVIRT,
    ),
    Rule(
        "QM506",
        "have libvirt's cookie inside the data of its header",
        _ERROR,
        "`cookieOffset` counts from the beginning of the XML and lies below `data_len`.",
        _OPEN,
        Outcome.NOT_ASKED,
        "invalid save image header: cookie offset exceeds data length",
        speaker=_LIBVIRT,
    ),
    Rule(
        "QM507",
        "have the stream where libvirt's header says",
        _ERROR,
        "It begins `data_len` bytes behind the header. Where something else stands there, the "
        "length is wrong or the image was put together wrongly.",
        "migration/savevm.c: qemu_loadvm_state_header, 10.0",
        Outcome.REFUSES,
        "Not a migration stream",
        frozenset({Fault.LIBVIRT_STREAM}),
    ),
    Rule(
        "QM508",
        "be a mapped-ram stream in the format sparse, and no other",
        Severity.WARNING,
        "libvirt sets the capability mapped-ram for sparse images and for no others, so it cannot "
        "load what is otherwise.",
        "libvirt, src/qemu/qemu_saveimage.c: qemuSaveImageCreate, 12.0",
        Outcome.NOT_ASKED,
        speaker=_LIBVIRT,
    ),
    Rule(
        "QM509",
        "be whole where it is compressed",
        _ERROR,
        "The compressed data ends early, or does not decompress. What came out before it is "
        "judged.",
        "the tool that decompresses; migration/savevm.c: qemu_loadvm_state_main, 10.0",
        Outcome.REFUSES,
        "load of migration failed: Input/output error",
        frozenset({Fault.COMPRESSED_DATA}),
    ),
)
