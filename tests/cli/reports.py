"""The report of a fixture, made in this process: fast enough for all of them."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import qmig
from qmig.render.report import build_report
from qmig.render.text import text_lines

# Fixtures that cannot be read to their ends, with the exit code that this has.
NOT_WHOLE = {
    "handmade-ram-hook": 3,
    "libvirt-12-partial": 1,
    "libvirt-12-sparse-partial": 1,
}


def report_of(paths: Sequence[Path], parts: Collection[str] = ()) -> dict[str, Any]:
    """Return the document about files."""
    with qmig.open_capture(*paths) as capture:
        return build_report(capture, parts)


def text_of(report: dict[str, Any]) -> list[str]:
    """Return the lines of a report, errors included."""
    return list(text_lines(report, with_errors=True))
