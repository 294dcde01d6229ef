"""The options of all verbs, declared for typer."""

from __future__ import annotations

import sys
from typing import Annotated, Final

import typer

from qmig._version import __version__
from qmig.cli.devices_options import DEVICES_HELP, devices_command
from qmig.cli.diff_options import DIFF_HELP, SeparatedCommand, diff_command
from qmig.cli.extract_options import EXTRACT_HELP, extract_command
from qmig.cli.guard import WRONG_USAGE, guarded
from qmig.cli.inspect import InspectOptions, inspect
from qmig.cli.salvage_options import SALVAGE_HELP, salvage_command
from qmig.cli.save_options import OPTIONAL_VALUES, SAVE_HELP, save_command
from qmig.cli.validate_options import VALIDATE_HELP, validate_command
from qmig.cli.values import number, page_size, with_defaults

# \b keeps the lines of a paragraph as they are.
_INSPECT_HELP: Final = """\
Show what is in a migration stream, where each byte belongs, and what a QEMU needs to load it.

Nothing is changed, and no QEMU is needed. A damaged file is shown as far as it can be read; the
error then says which byte is wrong and why. --sections, --ram and --channels can be combined.

\b
Examples:
  qmig inspect vm.sav                     a file saved by QEMU or libvirt
  qmig inspect main.bin ch1.bin ch2.bin   the connections of a multifd migration
  qmig inspect --ram --json vm.sav        the RAM blocks, for a program
  qmig inspect --offset 0x3000 disk.img   a stream that begins inside a file
  ssh host cat vm.sav | qmig inspect -    from a pipe

\b
Exit codes:
  0   it was read to its end
  1   it is damaged or cut short
  2   the command line is wrong
  3   it cannot be read, or is no migration stream
  70  a bug in qmig
"""

app = typer.Typer(
    name="qmig",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def run() -> int:
    """Parse the command line and run what it asks for; return the exit code."""
    try:
        app(with_defaults(sys.argv[1:], OPTIONAL_VALUES), prog_name="qmig")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else WRONG_USAGE
    return 0


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"qmig {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """Read, check and write QEMU migration streams: saved machines, libvirt images, multifd."""


@app.command("inspect", no_args_is_help=True, help=_INSPECT_HELP)
def _inspect(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE",
            help="A stream, a libvirt save image, either of them compressed, or all files of one "
            "multifd or postcopy migration in any order; - is standard input.",
            show_default=False,
        ),
    ],
    json: Annotated[bool, typer.Option("--json", help="Write one JSON document.")] = False,
    json_lines: Annotated[
        bool,
        typer.Option("--json-lines", help="Write each record, with its offset, as a JSON line."),
    ] = False,
    sections: Annotated[
        bool, typer.Option("--sections", help="Show the table of sections alone.")
    ] = False,
    ram: Annotated[bool, typer.Option("--ram", help="Show the table of RAM blocks alone.")] = False,
    channels: Annotated[
        bool, typer.Option("--channels", help="Show the table of multifd channels alone.")
    ] = False,
    page_size: Annotated[
        int | None,
        typer.Option(
            parser=page_size,
            metavar="BYTES",
            help="The guest's page size, where the stream does not tell it.",
        ),
    ] = None,
    offset: Annotated[
        int | None,
        typer.Option(
            parser=number,
            metavar="BYTE",
            help="Where the stream begins in its file, decimal or with 0x.",
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Write the result to this file, which must not exist."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the output file.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress.")] = False,
) -> None:
    """Show what is in a migration stream; the options say how."""
    if json and json_lines:
        raise typer.BadParameter("--json and --json-lines exclude each other")
    chosen = {"sections": sections, "ram": ram, "channels": channels}
    parts = [name for name, wanted in chosen.items() if wanted]
    if parts and json_lines:
        raise typer.BadParameter("--json-lines writes all records: it takes no choice of tables")
    options = InspectOptions(
        files=files,
        parts=parts,
        json=json,
        json_lines=json_lines,
        page_size_len=page_size,
        offset=offset,
        quiet=quiet,
        output=output,
        force=force,
    )
    raise typer.Exit(guarded(lambda: inspect(options)))


app.command("validate", no_args_is_help=True, help=VALIDATE_HELP)(validate_command)
app.command("devices", no_args_is_help=True, help=DEVICES_HELP)(devices_command)
app.command("diff", cls=SeparatedCommand, no_args_is_help=True, help=DIFF_HELP)(diff_command)
app.command("extract", no_args_is_help=True, help=EXTRACT_HELP)(extract_command)
app.command("salvage", no_args_is_help=True, help=SALVAGE_HELP)(salvage_command)
app.command("save", no_args_is_help=True, help=SAVE_HELP)(save_command)
