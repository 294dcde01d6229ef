"""The options of `qmig devices`, declared for typer."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from qmig.cli.common_options import Offset, Output, PageSize, Quiet, ReplaceOutput
from qmig.cli.devices_request import DevicesOptions, run_devices
from qmig.cli.guard import guarded

DEVICES_HELP: Final = """\
Show the state of the devices in a migration stream, decoded by the stream's own description.

Without a NAME it lists all devices. A NAME is that of a device (cpu, cpu/0), of a field in it
(cpu/0/env.regs[0]), or of what its fields mean (cpu/0/rip); several can be given. Of the arguments
behind the first one, those that exist as files are files of the same migration, the others are
names; --select takes a name whatever exists. docs/devices.md tells what is decoded and what it is
called.

\b
Examples:
  qmig devices vm.sav                      what devices there are
  qmig devices vm.sav cpu/0                the registers of the first CPU
  qmig devices vm.sav 'cpu/0/env.regs[0]'  one field
  qmig devices vm.sav cpu/0/rip            one register
  qmig devices main.bin ch1.bin rtc --json a multifd set, for a program
  qmig devices --sizes vm.sav              which devices have the most bytes

\b
Exit codes:
  0   every device that was asked for was decoded to its last byte
  1   the file is damaged, or its description does not fit its bytes
  2   the command line is wrong, or nothing has the name that was given
  3   it cannot be read, or is no migration stream
  70  a bug in qmig
"""


def devices_command(
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE... [NAME]...",
            help="What `qmig inspect` takes; - is standard input. Then devices or fields.",
            show_default=False,
        ),
    ],
    *,
    select: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Show this device or field, as a NAME does."),
    ] = None,
    sizes: Annotated[
        bool, typer.Option("--sizes", help="Show the devices with the most bytes first.")
    ] = False,
    offsets: Annotated[
        bool, typer.Option("--offsets", help="Show where each section or field lies.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Write one JSON document, with all fields.")
    ] = False,
    page_size_len: PageSize = None,
    offset: Offset = None,
    output: Output = None,
    force: ReplaceOutput = False,
    quiet: Quiet = False,
) -> None:
    """Show the state of devices; the options say how."""
    options = DevicesOptions(
        arguments=arguments,
        select=select or [],
        sizes=sizes,
        offsets=offsets,
        json=json,
        page_size_len=page_size_len,
        offset=offset,
        quiet=quiet,
        output=output,
        force=force,
    )
    raise typer.Exit(guarded(lambda: run_devices(options)))
