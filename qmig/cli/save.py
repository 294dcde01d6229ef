"""`qmig save`: write a guest as a stream. The options are declared in `qmig.cli.save_options`."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from qmig.api import multifd_compression, output_format, save_format
from qmig.cli.output import is_same_file, show_report
from qmig.errors import SourceError, WriterError
from qmig.guest_source import captured_source, dumped_source, libvirt_options, synthetic_source
from qmig.limits import MAX_LIBVIRT_DATA_LEN, MAX_MACHINE_NAME_LEN, MIB
from qmig.migrate.interrupt import StopOnSignals
from qmig.migrate.migrator import MigrationOptions
from qmig.migrate.stream_output import STANDARD_OUTPUT, names_stream
from qmig.render.errors import show_error
from qmig.render.report_save import build_save_report, save_text_lines
from qmig.render.save_progress import SaveProgress
from qmig.saving import (
    LibvirtOptions,
    OutputFormat,
    SaveOptions,
    check_output,
    output_paths,
    save_guest,
)
from qmig.wire.libvirt import QemuSaveFormat

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qmig.cli.save_request import SaveRequest, SyntheticRequest
    from qmig.guest_source import GuestSource
    from qmig.migrate.synthetic_content import Shares
    from qmig.render.document import Document

_FITTING: Final = "fitting"
_DEFAULT_SEED: Final = 0
_DEFAULT_SIZE_LEN: Final = 64 * MIB
_DEFAULT_DIRTY_RATE: Final = 10 * MIB
_DEFAULT_PAGE_LEN: Final = 4096
_DEFAULT_MULTIFD_CHANNELS: Final = 2  # multifd-channels of QEMU
_PATTERNS: Final[dict[str, Literal["hot", "uniform"]]] = {"hot": "hot", "uniform": "uniform"}


def save(request: SaveRequest) -> int:
    """Save what was asked for; return the exit code.

    Raises:
        WriterError: the options, the source and the output do not go together.
        SourceError: a source cannot be read, or is no migration stream.
        StreamError: the source is damaged.
        OutputError: the output cannot be written.
        StopRequested: a signal asked to end; nothing is left behind.
    """
    _check_source(request)
    out, options = _options(request)
    _check_files(request, out, options)
    check_output(out, options)
    xml, cookie = _read(request.libvirt_xml), _read(request.libvirt_cookie)
    with StopOnSignals(), _source(request) as source:
        if options.libvirt is not None:
            found = libvirt_options(source, options.libvirt.save_format, xml=xml, cookie=cookie)
            options = replace(options, libvirt=found)
        options = replace(options, migration=_migration(request, static=source.static))
        remarks = [*source.remarks, *_hints(options, source)]
        report_to_stderr = out == STANDARD_OUTPUT
        silent = request.json and report_to_stderr
        for remark in () if silent else remarks:
            show_error(f"note: {remark}")
        written: list[str] = []
        with SaveProgress(source.guest, quiet=request.quiet) as progress:
            counters = save_guest(
                source.guest, source.skeleton, out, options, progress=progress, remarks=written
            )
        for remark in () if silent else written:
            show_error(f"note: {remark}")
        report = build_save_report(
            _source_document(request, source), out, options, counters, [*remarks, *written]
        )
    show_report(report, save_text_lines, as_json=request.json, to_stderr=report_to_stderr)
    return 0


# -- before any work ------------------------------------------------------------------------------


def _check_source(request: SaveRequest) -> None:
    """Hold the options that say what is saved against each other."""
    if request.devices_from and request.sources:
        raise WriterError("--devices-from is for RAM from dumps; SOURCE has devices of its own")
    if request.devices_from and not request.dumps:
        raise WriterError("--devices-from gives no RAM of its own; add --ram, or name it as SOURCE")
    if request.sources or request.dumps:
        given = _given(request.synthetic)
        if given:
            raise WriterError(f"{given[0]} is for the synthetic guest, and a source is given")
    elif request.offset is not None:
        raise WriterError("--offset says where SOURCE begins, and there is none")
    _check_dumps(request)


def _check_dumps(request: SaveRequest) -> None:
    names = [name for name, _ in request.dumps]
    for name in names:
        if names.count(name) > 1:
            raise WriterError(f"RAM block {name!r} is given twice")
    if request.machine is not None and _captures(request):
        raise WriterError("--machine is for RAM alone; a capture has a machine type of its own")
    if request.machine is not None and not 1 <= len(request.machine) <= MAX_MACHINE_NAME_LEN:
        raise WriterError(f"--machine: a name has 1 to {MAX_MACHINE_NAME_LEN} characters")
    if request.dumps and request.offset is not None and not _captures(request):
        raise WriterError("--offset says where a stream begins, and there are raw dumps alone")


def _given(synthetic: SyntheticRequest) -> list[str]:
    fields = synthetic._asdict().items()
    return [f"--{name.replace('_', '-')}" for name, value in fields if value is not None]


def _captures(request: SaveRequest) -> list[str]:
    return request.sources or request.devices_from


def _options(request: SaveRequest) -> tuple[str, SaveOptions]:
    """Return OUT and what is written; of a libvirt image its format alone."""
    if len(request.outputs) != 1:
        raise WriterError(
            "choose one output: --fixed-ram OUT, --stream OUT or --multifd OUT"
            + (f", not {len(request.outputs)}" if request.outputs else "")
        )
    ((name, out),) = request.outputs.items()
    kind = output_format(name)
    multifd = kind is OutputFormat.MULTIFD
    libvirt = None
    if request.libvirt is not None:
        fitting = QemuSaveFormat.SPARSE if kind is OutputFormat.MAPPED_RAM else QemuSaveFormat.RAW
        chosen = fitting if request.libvirt == _FITTING else save_format(request.libvirt)
        libvirt = LibvirtOptions(b"", save_format=chosen)
    elif request.libvirt_xml is not None or request.libvirt_cookie is not None:
        raise WriterError("--libvirt-xml and --libvirt-cookie are for --libvirt alone")
    if request.max_bandwidth == 0:
        raise WriterError("--max-bandwidth 0: nothing could ever be written")
    channels = request.channels
    if channels is None:
        channels = _DEFAULT_MULTIFD_CHANNELS if multifd else 1
    return out, SaveOptions(
        kind,
        channels=channels,
        direct_io=request.direct_io,
        generation=request.generation,
        compression=multifd_compression(request.compression or "none"),
        flush_after_each_section=request.flush_after_each_section,
        xbzrle_cache_len=_cache_len(request),
        compress=request.compress,
        libvirt=libvirt,
        force=request.force,
    )


def _cache_len(request: SaveRequest) -> int:
    if request.xbzrle_cache_len is None:
        return 0
    if request.xbzrle_cache_len < (page_len := request.page_size_len or _DEFAULT_PAGE_LEN):
        raise WriterError(f"--xbzrle: not one page of {page_len} bytes fits such a cache")
    return request.xbzrle_cache_len


def _check_files(request: SaveRequest, out: str, options: SaveOptions) -> None:
    """Refuse to write over what is read: at once by a stream, without leave by a file."""
    given = [*_captures(request), *(path for _, path in request.dumps)]
    given += [path for path in (request.libvirt_xml, request.libvirt_cookie) if path is not None]
    for path in output_paths(out, options):
        if options.force and not names_stream(out):
            continue  # it is replaced by a new file once all is read
        for name in given:
            if is_same_file(path, name):
                hint = "" if names_stream(out) else "; --force replaces it when all is written"
                raise WriterError(f"{path} is one of the files to read{hint}")


def _read(path: str | None) -> bytes | None:
    """Read XML or a cookie; a line feed or NUL at its end is none of it."""
    if path is None:
        return None
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_LIBVIRT_DATA_LEN + 1)
    except OSError as error:
        raise SourceError(f"cannot read: {error.strerror or error}", path=path) from error
    if len(data) > MAX_LIBVIRT_DATA_LEN:
        raise WriterError(f"{path}: more than {MAX_LIBVIRT_DATA_LEN} bytes, which no reader takes")
    if not data.strip(b"\0 \t\r\n"):
        raise WriterError(f"{path}: is empty")
    return data.rstrip(b"\0")


# -- what is saved --------------------------------------------------------------------------------


@contextmanager
def _source(request: SaveRequest) -> Iterator[GuestSource]:
    dumps = dict(request.dumps)
    captures = _captures(request)
    with ExitStack() as stack:
        if captures:
            from qmig.capture.capture import open_capture

            capture = stack.enter_context(
                open_capture(
                    *captures,
                    page_size_len=request.page_size_len,
                    offset=request.offset,
                    keep_all=True,
                )
            )
            yield stack.enter_context(captured_source(capture, dumps))
        elif dumps:
            yield stack.enter_context(
                dumped_source(dumps, request.page_size_len, machine=request.machine)
            )
        else:
            yield stack.enter_context(_synthetic(request))


@contextmanager
def _synthetic(request: SaveRequest) -> Iterator[GuestSource]:
    from qmig.migrate.synthetic import Workload

    wanted = request.synthetic
    seed = _DEFAULT_SEED if wanted.seed is None else wanted.seed
    size_len = _DEFAULT_SIZE_LEN if wanted.size is None else wanted.size
    rate_len = _DEFAULT_DIRTY_RATE if wanted.dirty_rate is None else wanted.dirty_rate
    pattern = wanted.workload or "hot"
    if pattern not in _PATTERNS:
        raise WriterError(f"--workload {pattern}: there are {' and '.join(_PATTERNS)}")
    if wanted.max_rounds == 0:
        raise WriterError("--max-rounds 0: the first round is always needed")
    page_size_len = request.page_size_len or _DEFAULT_PAGE_LEN
    workload = Workload(rate_len / page_size_len, _PATTERNS[pattern])
    with synthetic_source(
        seed,
        size_len,
        shares=_shares(wanted),
        workload=workload,
        page_size_len=page_size_len,
        machine=request.machine,
    ) as source:
        source.remarks.insert(0, f"no source is given: the synthetic guest is saved, seed {seed}")
        yield source


def _shares(wanted: SyntheticRequest) -> Shares:
    """Divide what no option gives among the other kinds of pages, as the defaults do."""
    from qmig.migrate.synthetic_content import Shares

    usual = Shares()
    kinds = ("zero", "constant", "random")
    given = {kind: getattr(wanted, f"{kind}_share") for kind in kinds}
    known = sum(share for share in given.values() if share is not None)
    others = sum(getattr(usual, kind) for kind in kinds if given[kind] is None)
    if known > 1 + 1e-9 or (not others and abs(known - 1) > 1e-6):
        raise WriterError(f"the shares of pages are {known:g} together, and all pages are 1")
    rest = max(0.0, 1 - known)
    return Shares(
        **{
            kind: getattr(usual, kind) / others * rest if given[kind] is None else given[kind]
            for kind in kinds
        }
    )


def _migration(request: SaveRequest, *, static: bool) -> MigrationOptions:
    usual, wanted = MigrationOptions(), request.synthetic
    downtime = wanted.downtime_limit
    return MigrationOptions(
        max_rounds=wanted.max_rounds or usual.max_rounds,
        max_bandwidth=request.max_bandwidth,
        downtime_limit_ms=usual.downtime_limit_ms if downtime is None else downtime,
        auto_converge=bool(wanted.auto_converge),
        static=static,
    )


# -- what is told ---------------------------------------------------------------------------------


def _hints(options: SaveOptions, source: GuestSource) -> list[str]:
    if options.xbzrle_cache_len and source.static:
        return ["XBZRLE is for pages that are sent again, and this guest stands still: none are"]
    return []


def _source_document(request: SaveRequest, source: GuestSource) -> Document:
    seed = request.synthetic.seed
    return {
        "kind": source.kind,
        "files": [*_captures(request)],
        "dumps": dict(request.dumps),
        "seed": (seed or _DEFAULT_SEED) if source.kind == "synthetic" else None,
        "ram_len": sum(block.used_length for block in source.guest.blocks),
    }
