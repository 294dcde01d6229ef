"""What `qmig validate` was asked for; loads no option parser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

NEVER: Final = "never"


class ValidateOptions(NamedTuple):
    """What `qmig validate` was asked for.

    Attributes:
        files: the files of one migration.
        explain: id of a rule to explain, instead of reading files.
        select: beginnings of rule ids to report alone; empty: all.
        ignore: beginnings of rule ids not to report.
        fail_on: the least severity that the exit code tells, or "never".
        json: write the document as JSON.
        page_size_len: the target page size, where the user knows it.
        offset: where the stream begins, where the user knows it.
        quiet: show no progress.
        output: file for the result; None: standard output.
        force: replace that file where it exists.
    """

    files: Sequence[str]
    explain: str | None = None
    select: Sequence[str] = ()
    ignore: Sequence[str] = ()
    fail_on: str = "error"
    json: bool = False
    page_size_len: int | None = None
    offset: int | None = None
    quiet: bool = False
    output: str | None = None
    force: bool = False
