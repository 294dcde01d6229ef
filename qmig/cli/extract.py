"""`qmig extract`: guest memory out of a capture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qmig.capture.capture import open_capture
from qmig.cli.guard import BAD_INPUT, FINE, UsageError
from qmig.cli.output import is_same_file, show_report
from qmig.cli.plain import STANDARD_STREAM
from qmig.export.extract import ExtractFormat, ExtractOptions, check_extract
from qmig.export.extract import extract as take_out
from qmig.export.layout import Given
from qmig.migrate.interrupt import StopOnSignals
from qmig.migrate.stream_output import STANDARD_OUTPUT
from qmig.render.extract_progress import ExtractProgress
from qmig.render.progress import SurveyProgress
from qmig.render.report_extract import build_extract_report
from qmig.render.text_extract import extract_text_lines

if TYPE_CHECKING:
    from qmig.cli.extract_request import ExtractRequest


def extract(request: ExtractRequest) -> int:
    """Take memory out of a capture; return the exit code.

    Raises:
        QmigError: it cannot be had or written; nothing is left behind.
        UsageError: the options do not go together.
        StopRequested: a signal asked to end; nothing is left behind.
    """
    options = _options(request)
    check_extract(request.out, options)
    with (
        StopOnSignals(),
        open_capture(
            *request.files,
            page_size_len=request.page_size_len,
            offset=request.offset,
            keep_all=STANDARD_STREAM in request.files,
        ) as capture,
    ):
        capture.keep_items = True
        with SurveyProgress(quiet=request.quiet) as progress:
            capture.progress = progress
            damaged = bool(capture.errors)
        with ExtractProgress(quiet=request.quiet) as shown:
            found = take_out(capture, request.out, options, progress=shown)
        report = build_extract_report(capture, found, request.files, request.out)
    show_report(
        report, extract_text_lines, as_json=request.json, to_stderr=request.out == STANDARD_OUTPUT
    )
    return BAD_INPUT if damaged or found.missing else FINE


def _options(request: ExtractRequest) -> ExtractOptions:
    names = [each.value for each in ExtractFormat]
    if request.format not in names:
        raise UsageError(f"--format {request.format}: it takes one of {', '.join(names)}")
    if any(is_same_file(request.out, given) for given in request.files):
        raise UsageError(f"{request.out} is one of the files to read")
    given = Given(
        below_4g_len=request.below_4g_len,
        main=request.main_ram,
        placed=dict(request.place),
        without=request.without,
    )
    return ExtractOptions(
        format=ExtractFormat(request.format),
        blocks=request.blocks,
        range=request.range,
        holes=request.holes,
        given=given,
        force=request.force,
    )
