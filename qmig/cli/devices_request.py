"""What `qmig devices` was asked for; loads no option parser."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from qmig.cli.plain import STANDARD_STREAM, read_plain

if TYPE_CHECKING:
    from collections.abc import Sequence

_FLAGS = ("--json", "--sizes", "--offsets", "--quiet")


class DevicesOptions(NamedTuple):
    """What `qmig devices` was asked for.

    Attributes:
        arguments: files of one migration, and names of devices or fields behind them.
        select: more names.
        sizes: order the devices by their bytes.
        offsets: show where each field lies.
        json: write the document as JSON.
        page_size_len: the target page size, where the user knows it.
        offset: where the stream begins, where the user knows it.
        quiet: show no progress.
        output: file for the result; None: standard output.
        force: replace that file where it exists.
    """

    arguments: Sequence[str]
    select: Sequence[str] = ()
    sizes: bool = False
    offsets: bool = False
    json: bool = False
    page_size_len: int | None = None
    offset: int | None = None
    quiet: bool = False
    output: str | None = None
    force: bool = False


def plain_request(arguments: Sequence[str]) -> DevicesOptions | None:
    """Read a command line of names and flags without values, which needs no option parser.

    Returns:
        What is asked for; None where it takes a parser to tell.
    """
    line = read_plain(arguments, flags=_FLAGS)
    if line is None or not line.values:
        return None
    return DevicesOptions(
        line.values,
        json="--json" in line.flags,
        sizes="--sizes" in line.flags,
        offsets="--offsets" in line.flags,
        quiet="--quiet" in line.flags,
    )


def run_devices(options: DevicesOptions) -> int:
    """Show the state of devices; return the exit code."""
    from qmig.cli.devices import devices

    return devices(options)


def files_and_names(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Tell files from names: the first argument is a file, and so is what exists as one."""
    files = list(arguments[:1])
    names: list[str] = []
    for argument in arguments[1:]:
        (files if is_file(argument) else names).append(argument)
    return files, names


def is_file(argument: str) -> bool:
    """Tell whether an argument names a file that is there, or standard input."""
    try:
        return argument == STANDARD_STREAM or Path(argument).exists()
    except (OSError, ValueError):  # too long a name, or a NUL in it
        return False
