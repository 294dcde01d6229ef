"""`qmig extract`: guest memory out of a capture."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from qmig.capture.capture import open_capture
from qmig.cli.guard import BAD_INPUT, FINE, UsageError
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
    from qmig.cli.extract_options import ExtractRequest
    from qmig.render.document import Document


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
            *request.files, page_size_len=request.page_size_len, offset=request.offset
        ) as capture,
    ):
        capture.keep_items = True
        with SurveyProgress(quiet=request.quiet) as progress:
            capture.progress = progress
            damaged = bool(capture.errors)
        with ExtractProgress(quiet=request.quiet) as shown:
            found = take_out(capture, request.out, options, progress=shown)
        report = build_extract_report(capture, found, request.files, request.out)
    _show(report, as_json=request.json, to_stderr=request.out == STANDARD_OUTPUT)
    return BAD_INPUT if damaged or found.missing else FINE


def _options(request: ExtractRequest) -> ExtractOptions:
    names = [each.value for each in ExtractFormat]
    if request.format not in names:
        raise UsageError(f"--format {request.format}: it takes one of {', '.join(names)}")
    if any(_same(request.out, given) for given in request.files):
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


def _same(out: str, name: str) -> bool:
    try:
        return os.path.samestat(Path(out).stat(), Path(name).stat())
    except (OSError, ValueError):  # not there, or no file at all
        return False


def _show(report: Document, *, as_json: bool, to_stderr: bool) -> None:
    """Write the report; standard output is the image's where that goes there."""
    if as_json:
        from qmig.render.jsonout import json_text

        text = json_text(report)
    else:
        text = "\n".join(extract_text_lines(report)) + "\n"
    file = sys.stderr if to_stderr else sys.stdout
    if file is not None:
        encoding = file.encoding or "ascii"
        file.write(text.encode(encoding, "backslashreplace").decode(encoding))
