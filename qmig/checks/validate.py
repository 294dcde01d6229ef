"""Validating as one call: `qmig.validate`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from qmig.capture.capture import open_capture
from qmig.capture.survey import Survey
from qmig.checks.judge import Judge, note_error
from qmig.checks.registry import RULES
from qmig.checks.verdict import Reporter
from qmig.errors import StreamError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from qmig.capture.capture import Capture
    from qmig.capture.container import Container
    from qmig.checks.verdict import Verdict

    PathLike = str | os.PathLike[str]


def validate(
    *paths: PathLike,
    select: Collection[str] = (),
    ignore: Collection[str] = (),
    page_size_len: int | None = None,
    offset: int | None = None,
    progress: Callable[[Container, int], None] | None = None,
) -> Verdict:
    """Tell what is wrong with the files of one migration.

    Args:
        paths: what `open_capture` takes.
        select: beginnings of ids of rules ("QM2", "QM201") to ask for alone; empty: all.
        ignore: beginnings of ids of rules not to ask for.
        page_size_len: the target page size, where the stream does not tell it.
        offset: where the stream begins in its file, where that is not byte 0.
        progress: called with a file and the offset in its stream that was reached.

    Raises:
        SourceError: a file cannot be read, or is no migration stream.
        ValueError: as `open_capture`; or `select` or `ignore` has what begins no rule's id.
    """
    wrong = wrong_beginning([*select, *ignore])
    if wrong is not None:
        raise ValueError(wrong)
    try:
        capture = open_capture(*paths, page_size_len=page_size_len, offset=offset)
    except StreamError as error:
        reporter = Reporter(select, ignore)
        note_error(reporter, error)
        return reporter.verdict
    with capture:
        capture.progress = progress
        verdict = Judge(capture, select=select, ignore=ignore).run()
        if _was_misled(capture):
            verdict = Judge(capture, select=select, ignore=ignore).run()
        return verdict


def wrong_beginning(beginnings: Iterable[str]) -> str | None:
    """Say which of some beginnings of rule ids begins none: no rule would be asked for by it."""
    for beginning in beginnings:
        if not beginning or not any(rule.startswith(beginning) for rule in RULES):
            return f"{beginning!r} begins the id of no rule, as QM2 or QM201 do"
    return None


def _was_misled(capture: Capture) -> bool:
    """Tell whether what was found wrong comes from the vmdescription of another stream.

    The survey, which stops at what is wrong, finds out whether the stream is read farther without
    it, and leaves that in the container.
    """
    walk = capture.survey.walk
    if capture.main is None or walk is None:
        return False
    if walk.foreign_description is None or not walk.errors:
        return False
    Survey.of(capture)
    return capture.main.description_end is not None
