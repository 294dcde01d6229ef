"""The options of `qmig validate`, declared for typer."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from qmig.cli.common_options import Json, Offset, Output, PageSize, Quiet, ReplaceOutput
from qmig.cli.guard import guarded
from qmig.cli.validate_request import NEVER, ValidateOptions

VALIDATE_HELP: Final = """\
Tell whether a migration stream is whole and right, and if not what is wrong, where, and what a
QEMU says to it.

Each rule has an id (docs/rules.md lists them, --explain tells of one) and a severity: an error
makes a QEMU refuse the stream or load wrong data, a warning is suspicious and tolerated, a note is
legal. It goes on behind damage wherever the format gives a safe place, and says what it could not
read and what is missing.

\b
Examples:
  qmig validate vm.sav                     a file saved by QEMU or libvirt
  qmig validate main.bin ch1.bin ch2.bin   the connections of a multifd migration
  qmig validate --select QM2 vm.img        the rules of mapped-ram alone
  qmig validate --fail-on warning vm.sav   for scripts that want no doubt
  qmig validate --explain QM017            why a rule is one, and where QEMU says so

\b
Exit codes:
  0   nothing is wrong (--fail-on says from which severity on)
  1   something is wrong
  2   the command line is wrong
  3   it cannot be read, is no migration stream, or a part of it could not be judged
  70  a bug in qmig
"""
_SEVERITIES: Final = ("error", "warning", "note", NEVER)


def validate_command(
    *,
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILE",
            help="What `qmig inspect` takes; - is standard input.",
            show_default=False,
        ),
    ] = None,
    explain: Annotated[
        str | None, typer.Option(metavar="RULE", help="Explain a rule, and read no file.")
    ] = None,
    select: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RULES",
            help="Report these rules alone: ids or beginnings of them, as QM2,QM301.",
        ),
    ] = None,
    ignore: Annotated[
        list[str] | None,
        typer.Option(metavar="RULES", help="Do not report these rules."),
    ] = None,
    fail_on: Annotated[
        str,
        typer.Option(
            metavar="SEVERITY",
            help="Exit with 1 from this severity on: error, warning, note, or never (error).",
            show_default=False,
        ),
    ] = "error",
    json: Json = False,
    page_size_len: PageSize = None,
    offset: Offset = None,
    output: Output = None,
    force: ReplaceOutput = False,
    quiet: Quiet = False,
) -> None:
    """Tell what is wrong with a migration stream; the options say how."""
    if fail_on not in _SEVERITIES:
        raise typer.BadParameter(f"--fail-on takes {', '.join(_SEVERITIES)}, not {fail_on!r}")
    options = ValidateOptions(
        files=files or [],
        explain=explain,
        select=_listed(select),
        ignore=_listed(ignore),
        fail_on=fail_on,
        json=json,
        page_size_len=page_size_len,
        offset=offset,
        quiet=quiet,
        output=output,
        force=force,
    )
    raise typer.Exit(guarded(lambda: _validate(options)))


def _listed(values: list[str] | None) -> list[str]:
    return [part.strip() for value in values or [] for part in value.split(",")]


def _validate(options: ValidateOptions) -> int:
    from qmig.cli.validate import validate

    return validate(options)
