"""The options of all verbs, declared for typer."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from qmig._version import __version__
from qmig.cli.devices_options import DEVICES_HELP, devices_command
from qmig.cli.diff_options import DIFF_HELP, SeparatedCommand, diff_command
from qmig.cli.extract_options import EXTRACT_HELP, extract_command
from qmig.cli.guard import CLOSED_PIPE, OUTPUT_NAME, WRONG_USAGE
from qmig.cli.inspect_options import INSPECT_HELP, inspect_command
from qmig.cli.salvage_options import SALVAGE_HELP, salvage_command
from qmig.cli.save_options import OPTIONAL_VALUES, SAVE_HELP, save_command
from qmig.cli.validate_options import VALIDATE_HELP, validate_command
from qmig.cli.values import with_defaults
from qmig.errors import OutputError

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
        if isinstance(end.__context__, BrokenPipeError):  # the parser makes 1 of it
            return CLOSED_PIPE
        return end.code if isinstance(end.code, int) else WRONG_USAGE
    except OSError as error:  # of a help text: all else is written behind a guard of its own
        reason = f"cannot write to it: {error.strerror or error}"
        raise OutputError(reason, path=OUTPUT_NAME) from error
    return 0


def _show_version(*, value: bool) -> None:
    if value:
        typer.echo(f"qmig {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """Read, check and write QEMU migration streams: saved machines, libvirt images, multifd."""


app.command("inspect", no_args_is_help=True, help=INSPECT_HELP)(inspect_command)
app.command("validate", no_args_is_help=True, help=VALIDATE_HELP)(validate_command)
app.command("devices", no_args_is_help=True, help=DEVICES_HELP)(devices_command)
app.command("diff", cls=SeparatedCommand, no_args_is_help=True, help=DIFF_HELP)(diff_command)
app.command("extract", no_args_is_help=True, help=EXTRACT_HELP)(extract_command)
app.command("salvage", no_args_is_help=True, help=SALVAGE_HELP)(salvage_command)
app.command("save", no_args_is_help=True, help=SAVE_HELP)(save_command)
