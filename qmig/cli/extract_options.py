"""The options of `qmig extract`, declared for typer."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from qmig.cli.common_options import Files, JsonReport, Offset, PageSize, Quiet, ReplaceFiles
from qmig.cli.extract_request import ON_MISSING, ExtractRequest, run_extract
from qmig.cli.guard import guarded
from qmig.cli.plain import STANDARD_STREAM
from qmig.cli.values import number, size

EXTRACT_HELP: Final = """\
Take the guest's memory out of a capture: its RAM blocks, or an image by physical address.

Where memory stands is read from the capture, and the report says what it is known from; where it
cannot be known, what to give is asked for. Memory that the capture does not hold is never made up.

\b
Examples:
  qmig extract vm.sav -o ram/                    a file for each RAM block, and a manifest
  qmig extract vm.sav --format raw -o vm.raw     guest-physical memory, sparse
  qmig extract vm.sav --format elf -o vm.core    memory and registers, for debuggers
  qmig extract vm.sav --format lime -o vm.lime   for memory forensics
  qmig extract vm.sav --format raw --range 0x1000000:4096 --stdout | xxd

\b
Exit codes:
  0    all of it was there
  1    the capture is damaged; or, with --missing hole, something is missing
  2    the command line is wrong, or the layout cannot be known: the error says what to give
  3    the capture cannot be read or lacks pages, or the output cannot be written
  70   a bug in qmig
  130  interrupted; nothing is left behind
"""


def address_range(text: str) -> tuple[int, int]:
    """Read `START:LENGTH`."""
    start, colon, length = text.partition(":")
    if not colon:
        raise typer.BadParameter(f"{text!r} is not START:LENGTH, as 0x100000:4096")
    return number(start), size(length)


def block_address(text: str) -> tuple[str, int]:
    """Read `BLOCK=ADDRESS`; the name may have `=` in it."""
    name, equals, address = text.rpartition("=")
    if not equals or not name:
        raise typer.BadParameter(f"{text!r} is not BLOCK=ADDRESS, as dimm0=0x100000000")
    return name, number(address)


def extract_command(
    files: Files,
    *,
    out: Annotated[
        str | None,
        typer.Option("--out", "-o", metavar="OUT", help="A new folder for blocks, else a file."),
    ] = None,
    stdout: Annotated[
        bool, typer.Option("--stdout", help="Write the image to standard output.")
    ] = False,
    format: Annotated[  # noqa: A002  # the option's name
        str,
        typer.Option(
            "--format", metavar="FORMAT", help="blocks, raw, lime or elf.", show_default="blocks"
        ),
    ] = "blocks",
    block: Annotated[
        list[str] | None,
        typer.Option("--block", metavar="NAME", help="This RAM block alone; blocks: any number."),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            "--range",
            metavar="START:LENGTH",
            help="With raw: these guest-physical addresses, or with --block bytes of it.",
        ),
    ] = None,
    missing: Annotated[
        str,
        typer.Option(
            metavar="error|hole",
            help="What to do about pages that the capture does not hold: hole leaves them out "
            "and lists them in a manifest.",
            show_default="error",
        ),
    ] = "error",
    below_4g: Annotated[
        int | None,
        typer.Option(
            "--below-4g",
            parser=size,
            metavar="SIZE",
            help="RAM below 4 GiB of an x86 machine, where the capture does not tell it.",
        ),
    ] = None,
    main_ram: Annotated[
        list[str] | None,
        typer.Option(
            "--main-ram",
            metavar="NAME",
            help="A block of the main RAM, once each in order, where that is not known.",
        ),
    ] = None,
    place: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=ADDRESS",
            help="Where a block stands, as a DIMM, whose address no capture tells.",
        ),
    ] = None,
    without: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Leave out this block.")
    ] = None,
    page_size_len: PageSize = None,
    offset: Offset = None,
    force: ReplaceFiles = False,
    json: JsonReport = False,
    quiet: Quiet = False,
) -> None:
    """Take memory out of a capture; the options say how."""
    if stdout == (out is not None):
        raise typer.BadParameter("one of --out and --stdout says where it goes")
    if missing not in ON_MISSING:
        raise typer.BadParameter(f"--missing {missing}: it takes error or hole")
    request = ExtractRequest(
        files=files,
        out=out or STANDARD_STREAM,
        format=format,
        blocks=tuple(block or ()),
        range=None if address is None else address_range(address),
        holes=missing == "hole",
        below_4g_len=below_4g,
        main_ram=tuple(main_ram or ()),
        place=tuple(block_address(text) for text in place or ()),
        without=tuple(without or ()),
        page_size_len=page_size_len,
        offset=offset,
        force=force,
        json=json,
        quiet=quiet,
    )
    raise typer.Exit(guarded(lambda: run_extract(request)))
