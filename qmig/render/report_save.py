"""What `qmig save` tells when it is done: as a document, and that as text."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from qmig._version import __version__
from qmig.migrate.generations import generation_of
from qmig.migrate.stream_output import names_stream
from qmig.render.document import Document, known, make
from qmig.render.table import pairs
from qmig.render.words import full_size, grouped, harmless, pure, short_size, wrapped
from qmig.saving import OutputFormat, output_paths

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qmig.migrate.counters import Counters
    from qmig.saving import SaveOptions

SCHEMA: Final = "qmig.save/1"
_BYTES: Final = ("transferred", "xbzrle-bytes", "multifd-bytes")
_MILLISECONDS: Final = ("downtime", "total-time")
_MS_IN_S: Final = 1000


def build_save_report(
    source: Document,
    out: str,
    options: SaveOptions,
    counters: Counters,
    remarks: Sequence[str],
) -> Document:
    """Return the document about a save that is done.

    Args:
        source: kind, files, dumps, seed and length of the RAM.
        out: as the user named it.
        options: what was written.
        counters: what was counted.
        remarks: what the user should know.
    """
    multifd = options.format is OutputFormat.MULTIFD
    libvirt = options.libvirt
    return {
        "schema": SCHEMA,
        "qmig_version": __version__,
        "source": make(
            kind=source["kind"],
            files=[pure(name) for name in source["files"]],
            dumps={pure(name): pure(path) for name, path in source["dumps"].items()},
            seed=known(source["seed"], "the source is not the synthetic guest"),
            ram_len=source["ram_len"],
        ),
        "output": make(
            format=options.format.value,
            files=[_file(path) for path in output_paths(out, options)],
            channels=options.channels,
            generation=known(
                generation_of(options.generation).name if multifd else None,
                "generations differ in multifd alone",
            ),
            compression=known(
                _compression(options) if multifd else None, "it is a matter of multifd alone"
            ),
            libvirt=known(
                libvirt.save_format.name.lower() if libvirt else None, "no libvirt image was made"
            ),
        ),
        "counters": counters.as_dict(),
        "remarks": [pure(remark) for remark in remarks],
    }


def _compression(options: SaveOptions) -> str:
    name = options.compression.name.lower()
    return "none" if name == "nocomp" else name


def _file(path: str) -> Document:
    if names_stream(path):
        return make(path=pure(path), size=known(None, "it only goes forwards"))
    return make(path=pure(path), size=Path(os.fspath(path)).stat().st_size)


def save_text_lines(report: Document) -> Iterator[str]:
    """Yield the lines of a report for people."""
    for file in report["output"]["files"]:
        size = "" if file["size"] is None else f"  {full_size(file['size'])}"
        name = "standard output" if file["path"] == "-" else harmless(file["path"])
        yield from wrapped(f"{name}{size}", first="wrote ", rest="      ")
    yield from pairs([(name, _value(name, value)) for name, value in _told(report)])


def _told(report: Document) -> Iterator[tuple[str, int]]:
    """Yield the counters that say something of this save."""
    counters: dict[str, int] = report["counters"]
    for name, value in counters.items():
        if value or name in ("transferred", "normal", "duplicate", "total-time"):
            yield name, value
    elapsed = counters["total-time"]
    if elapsed:
        yield "throughput", report["source"]["ram_len"] * _MS_IN_S // elapsed


def _value(name: str, value: int) -> str:
    if name in _BYTES:
        return full_size(value)
    if name in _MILLISECONDS:
        return f"{grouped(value)} ms"
    if name == "throughput":
        return f"{short_size(value)} of guest memory a second"
    if name == "throttle-percentage":
        return f"{value}%"
    if name == "dirty-pages-rate":
        return f"{grouped(value)} pages a second"
    return grouped(value)
