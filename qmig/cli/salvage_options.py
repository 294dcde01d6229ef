"""The options of `qmig salvage`, declared for typer."""

from __future__ import annotations

from typing import Annotated, Final, NamedTuple

import typer

from qmig.cli.common_options import JsonReport, Offset, PageSize, Quiet, ReplaceFiles
from qmig.cli.guard import guarded

SALVAGE_HELP: Final = """\
Take out of a truncated or damaged capture what can be had, and say what is missing.

OUT becomes an ordinary stream with the pages that are known, and no others, and with the sections
that are whole: qmig reads it, and says of a page that is missing that it is. No QEMU loads it,
unless everything was there. A set of files may lack some, but for the one with the main stream.

\b
Examples:
  qmig salvage vm.sav -o rest.sav                  a file that was cut short
  qmig salvage main.bin ch1.bin -o rest.sav        a multifd set, a channel of which is lost
  qmig salvage vm.sav -o rest.sav --map pages.jsonl --json

\b
Exit codes:
  0    everything was there; OUT is whole
  1    something is missing; OUT has the rest
  2    the command line is wrong
  3    nothing can be had, or the output cannot be written
  70   a bug in qmig
  130  interrupted; nothing is left behind
"""


class SalvageRequest(NamedTuple):
    """What `qmig salvage` was asked for.

    Attributes:
        files: the files of one migration.
        out: where the rest goes.
        map: file for the map of known and unknown pages; None: none.
        page_size_len: the target page size, where the user knows it.
        offset: where the stream begins, where the user knows it.
        force: replace files that are there.
        json: write the report as JSON.
        quiet: show no progress.
    """

    files: list[str]
    out: str
    map: str | None = None
    page_size_len: int | None = None
    offset: int | None = None
    force: bool = False
    json: bool = False
    quiet: bool = False


def salvage_command(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE",
            help="A stream, a libvirt save image, either of them compressed, or the files of one "
            "multifd or postcopy migration in any order; - is standard input.",
            show_default=False,
        ),
    ],
    *,
    out: Annotated[
        str,
        typer.Option("--out", "-o", metavar="OUT", help="Where it goes; - is standard output."),
    ],
    page_map: Annotated[
        str | None,
        typer.Option(
            "--map",
            metavar="FILE",
            help="Write which pages are known and which are not, as JSON lines of ranges.",
        ),
    ] = None,
    page_size_len: PageSize = None,
    offset: Offset = None,
    force: ReplaceFiles = False,
    json: JsonReport = False,
    quiet: Quiet = False,
) -> None:
    """Take out of a damaged capture what can be had; the options say how."""
    request = SalvageRequest(
        files=files,
        out=out,
        map=page_map,
        page_size_len=page_size_len,
        offset=offset,
        force=force,
        json=json,
        quiet=quiet,
    )
    raise typer.Exit(guarded(lambda: _salvage(request)))


def _salvage(request: SalvageRequest) -> int:
    from qmig.cli.salvage import salvage

    return salvage(request)
