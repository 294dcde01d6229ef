"""The options of `qmig diff`, declared for typer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

import typer
from typer.core import TyperCommand

from qmig.cli.common_options import Json, Output, PageSize, Quiet, ReplaceOutput
from qmig.cli.guard import guarded
from qmig.cli.values import number

if TYPE_CHECKING:
    from collections.abc import Sequence

DIFF_HELP: Final = """\
Show what differs between two captures, A and B, whatever their containers and encodings.

Compared is the guest that was saved: machine type, sections, the fields of devices, and RAM; not
how it was saved. A capture of several files is given with all of them, and -- stands between the
two captures; options come before it. Pages that a capture does not hold are not known, and are
never taken for zero. docs/diff.md tells more.

\b
Examples:
  qmig diff before.sav after.sav
  qmig diff a.main a.ch0 a.ch1 -- b.main b.ch0 b.ch1   two multifd sets
  qmig diff --json vm.sav -- vm.img.*                  a file and a set, for a program
  qmig diff --ignore-clocks before.sav after.sav
  qmig diff --ignore 'cpu/*' --ignore ram/vga.vram before.sav after.sav

\b
Exit codes:
  0   they are equal
  1   they differ
  2   the command line is wrong
  3   it cannot be told: a capture is damaged, lacks pages, or cannot be read
  70  a bug in qmig
"""


class DiffOptions(NamedTuple):
    """What `qmig diff` was asked for.

    Attributes:
        arguments: a file of A and one of B, or all files of A, `--`, and all files of B.
        ignore: patterns of paths that are left out.
        ignore_clocks: leave out fields that hold times.
        accept_missing: take pages that neither has for equal.
        json: write the document as JSON.
        page_size_len: the target page size, where the user knows it.
        offset_a: where the stream of A begins in its file, where the user knows it.
        offset_b: the same of B.
        quiet: show no progress.
        output: file for the result; None: standard output.
        force: replace that file where it exists.
    """

    arguments: Sequence[str]
    ignore: Sequence[str] = ()
    ignore_clocks: bool = False
    accept_missing: bool = False
    json: bool = False
    page_size_len: int | None = None
    offset_a: int | None = None
    offset_b: int | None = None
    quiet: bool = False
    output: str | None = None
    force: bool = False


class SeparatedCommand(TyperCommand):
    """A command whose arguments keep the `--` that stands between two groups of files."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]  # its base's is click's
        """Parse; the parser takes away the first of two `--` and leaves the other."""
        if "--" in args:
            args.insert(args.index("--"), "--")
        return super().parse_args(ctx, args)


def diff_command(
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE",
            help="A and B; or all files of A, --, and all files of B; each what `qmig inspect` "
            "takes. - is standard input, for one of them.",
            show_default=False,
        ),
    ],
    *,
    ignore: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN",
            help="Leave out what has this path, and all below it: a field as `qmig devices` names "
            "it, a section (cpu/0), a block (ram/pc.ram), configuration/uuid; * is any text.",
        ),
    ] = None,
    ignore_clocks: Annotated[
        bool, typer.Option("--ignore-clocks", help="Leave out fields that hold times.")
    ] = False,
    accept_missing: Annotated[
        bool,
        typer.Option("--accept-missing", help="Take pages that neither capture holds for equal."),
    ] = False,
    json: Json = False,
    page_size_len: PageSize = None,
    offset_a: Annotated[
        int | None,
        typer.Option(
            parser=number, metavar="BYTE", help="Where the stream of A begins in its file."
        ),
    ] = None,
    offset_b: Annotated[
        int | None,
        typer.Option(
            parser=number, metavar="BYTE", help="Where the stream of B begins in its file."
        ),
    ] = None,
    output: Output = None,
    force: ReplaceOutput = False,
    quiet: Quiet = False,
) -> None:
    """Show what differs between two captures; the options say how."""
    options = DiffOptions(
        arguments=arguments,
        ignore=ignore or [],
        ignore_clocks=ignore_clocks,
        accept_missing=accept_missing,
        json=json,
        page_size_len=page_size_len,
        offset_a=offset_a,
        offset_b=offset_b,
        quiet=quiet,
        output=output,
        force=force,
    )
    raise typer.Exit(guarded(lambda: _diff(options)))


def _diff(options: DiffOptions) -> int:
    from qmig.cli.diff import diff

    return diff(options)
