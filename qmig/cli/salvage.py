"""`qmig salvage`: what can be had of a damaged capture, and what is missing."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from qmig.capture.rescue import rescue
from qmig.cli.guard import BAD_INPUT, CANNOT_JUDGE, FINE, UsageError
from qmig.cli.output import Output, is_same_file, show_report
from qmig.errors import SourceError, StreamError
from qmig.migrate.captured import CapturedGuest
from qmig.migrate.counters import Counters
from qmig.migrate.interrupt import StopOnSignals
from qmig.migrate.stream_output import STANDARD_OUTPUT
from qmig.render.errors import show_error
from qmig.render.progress import SurveyProgress
from qmig.render.report_salvage import build_salvage_report, map_lines
from qmig.render.save_progress import SaveProgress
from qmig.render.text_salvage import salvage_text_lines
from qmig.salvaging import kept_elements, write_salvaged
from qmig.saving import OutputFormat, SaveOptions, check_output

if TYPE_CHECKING:
    from qmig.capture.rescue_result import Rescue
    from qmig.cli.salvage_options import SalvageRequest
    from qmig.render.document import Document


def salvage(request: SalvageRequest) -> int:
    """Salvage a capture; return the exit code.

    Raises:
        OutputError: the output cannot be written.
        OutputRefusedError: a file is there already.
        UsageError: files are named that do not go together.
        StopRequested: a signal asked to end; nothing is left behind.
    """
    _check(request)
    check_output(request.out, SaveOptions(OutputFormat.STREAM, force=request.force))
    with StopOnSignals():
        try:
            with SurveyProgress(quiet=request.quiet) as progress:
                found = rescue(
                    *request.files,
                    page_size_len=request.page_size_len,
                    offset=request.offset,
                    progress=progress,
                )
            with found:
                report = _write(request, found)
        except (SourceError, StreamError) as error:
            show_error(str(error))
            return CANNOT_JUDGE
    show_report(
        report, salvage_text_lines, as_json=request.json, to_stderr=request.out == STANDARD_OUTPUT
    )
    return FINE if found.whole else BAD_INPUT


def _check(request: SalvageRequest) -> None:
    outputs = [name for name in (request.out, request.map) if name is not None]
    for name in outputs:
        if any(is_same_file(name, given) for given in request.files):
            raise UsageError(f"{name} is one of the files to read")
    if request.map is None:
        return
    if request.map == STANDARD_OUTPUT:
        raise UsageError("--map takes a file: standard output is the report's")
    if os.path.realpath(request.map) == os.path.realpath(request.out):
        raise UsageError("--map and --out name the same file")


def _write(request: SalvageRequest, found: Rescue) -> Document:
    counters = Counters()
    page_map = None
    if request.map is not None:
        page_map = Output(request.map, force=request.force, inputs=request.files)
    with SaveProgress(CapturedGuest(found.ram), quiet=request.quiet) as progress:
        write_salvaged(
            found, request.out, counters=counters, force=request.force, progress=progress
        )
    if page_map is not None:
        with page_map:
            page_map.write_lines(map_lines(found))
    kept = [element for element, _ in kept_elements(found)]
    return build_salvage_report(found, kept, request.files, request.out, counters)
