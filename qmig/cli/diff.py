"""`qmig diff`: what differs between two captures. The options: `qmig.cli.diff_options`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from qmig.capture.capture import open_capture
from qmig.cli.guard import BAD_INPUT, CANNOT_JUDGE, FINE, UsageError
from qmig.cli.output import Output
from qmig.cli.plain import STANDARD_STREAM
from qmig.comparison.compare import compare
from qmig.comparison.model import Outcome
from qmig.render.errors import show_error
from qmig.render.progress import ComparisonProgress
from qmig.render.report_diff import build_diff_report

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qmig.cli.diff_options import DiffOptions
    from qmig.comparison.model import Comparison

SEPARATOR: Final = "--"
_CODES: Final = {
    Outcome.EQUAL: FINE,
    Outcome.DIFFERENT: BAD_INPUT,
    Outcome.UNKNOWN: CANNOT_JUDGE,
}


def diff(options: DiffOptions) -> int:
    """Tell what differs; return the exit code.

    Raises:
        SourceError: a file cannot be read, or is no migration stream.
        StreamError: the wrapping of a file is damaged.
        UsageError: the files of A and B cannot be told apart, or the output file exists.
    """
    a, b = two_captures(options.arguments)
    output = Output(options.output, force=options.force, inputs=[*a, *b])
    size = options.page_size_len
    with (
        open_capture(*a, page_size_len=size, offset=options.offset_a, keep_all=True) as first,
        open_capture(*b, page_size_len=size, offset=options.offset_b, keep_all=True) as second,
    ):
        with ComparisonProgress(quiet=options.quiet) as progress:
            first.progress = second.progress = progress
            found = compare(
                first,
                second,
                ignore=options.ignore,
                ignore_clocks=options.ignore_clocks,
                accept_missing=options.accept_missing,
                progress=progress.compared,
            )
        with output:
            _write(options, found, a, b, output)
    for error in (*found.errors[0], *found.errors[1]):
        show_error(str(error))
    return _CODES[found.outcome]


def two_captures(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Tell the files of A from those of B.

    Raises:
        UsageError: they cannot be told apart, or both are standard input.
    """
    if SEPARATOR in arguments:
        at = list(arguments).index(SEPARATOR)
        a, b = list(arguments[:at]), list(arguments[at + 1 :])
        if not a or not b or SEPARATOR in b:
            raise UsageError("give the files of A, one --, and the files of B")
    elif len(arguments) == 2:
        a, b = [arguments[0]], [arguments[1]]
    else:
        raise UsageError(
            "give two captures; of captures of several files: those of A, --, those of B"
        )
    if [*a, *b].count(STANDARD_STREAM) > 1:
        raise UsageError("only one file can be standard input")
    return a, b


def _write(
    options: DiffOptions, found: Comparison, a: Sequence[str], b: Sequence[str], output: Output
) -> None:
    report = build_diff_report(found, a, b)
    if options.json:
        from qmig.render.jsonout import json_text

        output.write(json_text(report))
        return
    from qmig.render.text import bold, plain
    from qmig.render.text_diff import diff_text_lines

    coloured = output.to_terminal and not os.environ.get("NO_COLOR")
    output.write_lines(diff_text_lines(report, heading=bold if coloured else plain))
