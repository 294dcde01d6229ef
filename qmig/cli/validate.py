"""`qmig validate`: what is wrong with a capture. The options are declared in `qmig.cli.app`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from qmig.checks.validate import validate as judged
from qmig.cli.guard import BAD_INPUT, CANNOT_JUDGE, FINE
from qmig.cli.output import Output

if TYPE_CHECKING:
    from collections.abc import Sequence


class ValidateOptions(NamedTuple):
    """What `qmig validate` was asked for."""

    files: Sequence[str]
    select: Sequence[str] = ()
    ignore: Sequence[str] = ()
    fail_on: str = "error"
    json: bool = False
    page_size_len: int | None = None
    offset: int | None = None
    quiet: bool = False
    output: str | None = None
    force: bool = False


def validate(options: ValidateOptions) -> int:
    """Tell what is wrong with a capture; return the exit code."""
    verdict = judged(
        *options.files,
        select=options.select,
        ignore=options.ignore,
        page_size_len=options.page_size_len,
        offset=options.offset,
    )
    with Output(options.output, force=options.force, inputs=options.files) as output:
        output.write_lines([str(finding) for finding in verdict.findings])
        output.write_lines([str(error) for error in verdict.unjudged])
    if not verdict.sound:
        return CANNOT_JUDGE if verdict.unjudged and not verdict.counts else BAD_INPUT
    return FINE
