"""What `qmig extract` is asked for, and the plain command lines that need no option parser.

Importing the parser takes as long as taking out some hundred MiB. Anything that is not plain is
left to it, and all that is wrong, so that there is one place for help and errors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from qmig.cli.plain import STANDARD_STREAM, is_value

if TYPE_CHECKING:
    from collections.abc import Sequence

ON_MISSING: Final = ("error", "hole")
_OUT: Final = ("--out", "-o")
_FLAGS: Final = ("--stdout", "--force", "--json", "--quiet")
_ONCE: Final = (*_OUT, "--format", "--missing")
_MANY: Final = ("--block", "--main-ram", "--without")
PLAIN_OPTIONS: Final = (*_ONCE, *_MANY, *_FLAGS)
"""The options that a plain command line may have."""


class ExtractRequest(NamedTuple):
    """What `qmig extract` was asked for; each field is the option of its name."""

    files: list[str]
    out: str
    format: str = "blocks"
    blocks: tuple[str, ...] = ()
    range: tuple[int, int] | None = None
    holes: bool = False
    below_4g_len: int | None = None
    main_ram: tuple[str, ...] = ()
    place: tuple[tuple[str, int], ...] = ()
    without: tuple[str, ...] = ()
    page_size_len: int | None = None
    offset: int | None = None
    force: bool = False
    json: bool = False
    quiet: bool = False


def plain_request(arguments: Sequence[str]) -> ExtractRequest | None:
    """Read a command line of `PLAIN_OPTIONS` and files.

    Args:
        arguments: what stands behind `extract`.

    Returns:
        What was asked for; None where the option parser must look at it.
    """
    files: list[str] = []
    flags: set[str] = set()
    once: dict[str, str] = {}
    many: dict[str, list[str]] = {name: [] for name in _MANY}
    rest = iter(arguments)
    for argument in rest:
        if argument in _FLAGS:
            flags.add(argument)
        elif argument in PLAIN_OPTIONS:
            value = next(rest, "")
            if not is_value(value):
                return None
            if argument in many:
                many[argument].append(value)
            else:
                once["--out" if argument in _OUT else argument] = value
        elif is_value(argument):
            files.append(argument)
        else:
            return None
    missing = once.get("--missing", "error")
    if not files or ("--stdout" in flags) == ("--out" in once) or missing not in ON_MISSING:
        return None
    return ExtractRequest(
        files,
        once.get("--out", STANDARD_STREAM),
        format=once.get("--format", "blocks"),
        blocks=tuple(many["--block"]),
        holes=missing == "hole",
        main_ram=tuple(many["--main-ram"]),
        without=tuple(many["--without"]),
        force="--force" in flags,
        json="--json" in flags,
        quiet="--quiet" in flags,
    )


def run_extract(request: ExtractRequest) -> int:
    """Take memory out of a capture; return the exit code."""
    from qmig.cli.extract import extract

    return extract(request)
