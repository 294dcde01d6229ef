"""The options of `qmig inspect`, declared for typer."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from qmig.cli.common_options import Files, Json, Offset, Output, PageSize, Quiet, ReplaceOutput
from qmig.cli.guard import guarded
from qmig.cli.inspect import InspectOptions, inspect

# \b keeps the lines of a paragraph as they are.
INSPECT_HELP: Final = """\
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


def inspect_command(
    files: Files,
    *,
    json: Json = False,
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
    page_size_len: PageSize = None,
    offset: Offset = None,
    output: Output = None,
    force: ReplaceOutput = False,
    quiet: Quiet = False,
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
        page_size_len=page_size_len,
        offset=offset,
        quiet=quiet,
        output=output,
        force=force,
    )
    raise typer.Exit(guarded(lambda: inspect(options)))
