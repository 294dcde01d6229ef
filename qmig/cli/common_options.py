"""Options that several verbs take, declared once for typer: `quiet: Quiet = False`."""

from __future__ import annotations

from typing import Annotated

import typer

from qmig.cli.values import number, page_size

Files = Annotated[
    list[str],
    typer.Argument(
        metavar="FILE",
        help="A stream, a libvirt save image, either of them compressed, or all files of one "
        "multifd or postcopy migration in any order; - is standard input.",
        show_default=False,
    ),
]
PageSize = Annotated[
    int | None,
    typer.Option(
        "--page-size",
        parser=page_size,
        metavar="BYTES",
        help="The guest's page size, where the stream does not tell it.",
    ),
]
Offset = Annotated[
    int | None,
    typer.Option(
        "--offset",
        parser=number,
        metavar="BYTE",
        help="Where the stream begins in its file, decimal or with 0x.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress.")]

# What only reads has a result, and writes it to standard output or to one file.
Json = Annotated[bool, typer.Option("--json", help="Write one JSON document.")]
Output = Annotated[
    str | None,
    typer.Option(
        "--output", metavar="FILE", help="Write the result to this file, which must not exist."
    ),
]
ReplaceOutput = Annotated[bool, typer.Option("--force", help="Replace the output file.")]

# What writes captures or memory has files for them, and a report beside.
JsonReport = Annotated[bool, typer.Option("--json", help="Write the report as one JSON document.")]
ReplaceFiles = Annotated[bool, typer.Option("--force", help="Replace files that are there.")]
