"""What `qmig extract` is asked for, and the plain command lines that need no option parser.

Importing the parser takes as long as taking out some hundred MiB. Anything that is not plain is
left to it, and all that is wrong, so that there is one place for help and errors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from qmig.cli.plain import STANDARD_STREAM, read_plain

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
    line = read_plain(arguments, flags=_FLAGS, options=(*_ONCE, *_MANY))
    if line is None:
        return None
    once = {"--out" if name in _OUT else name: value for name, value in line.options}
    many = {name: tuple(v for given, v in line.options if given == name) for name in _MANY}
    missing = once.get("--missing", "error")
    if (
        not line.values
        or ("--stdout" in line.flags) == ("--out" in once)
        or missing not in ON_MISSING
    ):
        return None
    return ExtractRequest(
        line.values,
        once.get("--out", STANDARD_STREAM),
        format=once.get("--format", "blocks"),
        blocks=many["--block"],
        holes=missing == "hole",
        main_ram=many["--main-ram"],
        without=many["--without"],
        force="--force" in line.flags,
        json="--json" in line.flags,
        quiet="--quiet" in line.flags,
    )


def run_extract(request: ExtractRequest) -> int:
    """Take memory out of a capture; return the exit code."""
    from qmig.cli.extract import extract

    return extract(request)
