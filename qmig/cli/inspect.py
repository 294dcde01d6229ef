"""`qmig inspect`: what is in a capture. Its options are declared in `qmig.cli.inspect_options`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from qmig.capture.capture import open_capture
from qmig.cli.guard import code_of
from qmig.cli.output import Output
from qmig.render.errors import show_error
from qmig.render.progress import SurveyProgress

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from qmig.capture.capture import Capture
    from qmig.errors import QmigError


class InspectOptions(NamedTuple):
    """What `qmig inspect` was asked for.

    Attributes:
        files: the files of one migration.
        parts: the tables to show alone; empty: everything.
        json: write the document as JSON.
        json_lines: write each record as a line of JSON.
        page_size_len: the target page size, where the user knows it.
        offset: where the stream begins, where the user knows it.
        quiet: show no progress.
        output: file for the result; None: standard output.
        force: replace that file where it exists.
    """

    files: Sequence[str]
    parts: Collection[str] = ()
    json: bool = False
    json_lines: bool = False
    page_size_len: int | None = None
    offset: int | None = None
    quiet: bool = False
    output: str | None = None
    force: bool = False


def inspect(options: InspectOptions) -> int:
    """Show what is in a capture; return the exit code.

    Raises:
        SourceError: a file cannot be read, or is no migration stream.
        StreamError: the wrapping of a file is damaged.
        UsageError: the output file exists.
    """
    output = Output(options.output, force=options.force, inputs=options.files)
    with (
        open_capture(
            *options.files, page_size_len=options.page_size_len, offset=options.offset
        ) as capture,
        output,
    ):
        errors = (
            _records(options, capture, output)
            if options.json_lines
            else _report(options, capture, output)
        )
    for error in errors:
        show_error(str(error))
    return code_of(errors)


def _report(options: InspectOptions, capture: Capture, output: Output) -> Sequence[QmigError]:
    from qmig.render.report import build_report

    with SurveyProgress(quiet=options.quiet) as progress:
        capture.progress = progress
        report = build_report(capture, options.parts)
    if options.json:
        from qmig.render.jsonout import json_text

        output.write(json_text(report))
    else:
        from qmig.render.text import bold, plain, text_lines

        coloured = output.to_terminal and not os.environ.get("NO_COLOR")
        heading = bold if coloured else plain
        output.write_lines(text_lines(report, heading=heading, with_errors=output.is_file))
    return capture.errors


def _records(options: InspectOptions, capture: Capture, output: Output) -> Sequence[QmigError]:
    from qmig.render.jsonlines import RecordLines

    with SurveyProgress(quiet=options.quiet or output.to_terminal) as progress:
        lines = RecordLines(capture, progress)
        output.write_lines(lines)
    return lines.errors
