"""`qmig validate`: what is wrong with a capture. The options: `qmig.cli.validate_options`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from qmig.checks.registry import RULES
from qmig.checks.rule import Severity
from qmig.checks.validate import validate as judged
from qmig.checks.validate import wrong_beginning
from qmig.cli.guard import BAD_INPUT, CANNOT_JUDGE, FINE, UsageError
from qmig.cli.output import Output
from qmig.cli.validate_request import NEVER, ValidateOptions
from qmig.render.errors import show_error
from qmig.render.progress import SurveyProgress

if TYPE_CHECKING:
    from qmig.checks.verdict import Verdict
    from qmig.render.document import Document


def validate(options: ValidateOptions) -> int:
    """Tell what is wrong with a capture; return the exit code.

    Raises:
        SourceError: a file cannot be read, or is no migration stream.
        UsageError: the options do not go together, or the output file exists.
    """
    _check(options)
    output = Output(options.output, force=options.force, inputs=options.files)
    if options.explain is not None:
        from qmig.render.text_validate import rule_text_lines

        with output:
            output.write_lines(rule_text_lines(RULES[options.explain]))
        return FINE
    with output:
        with SurveyProgress(quiet=options.quiet) as progress:
            verdict = judged(
                *options.files,
                select=options.select,
                ignore=options.ignore,
                page_size_len=options.page_size_len,
                offset=options.offset,
                progress=progress,
            )
        _write(options, verdict, output)
    if output.is_file:
        for error in verdict.unjudged:
            show_error(str(error))
    return _exit_code(options, verdict)


def _check(options: ValidateOptions) -> None:
    if options.explain is not None:
        if options.files:
            raise UsageError("--explain tells of a rule, and takes no file")
        if options.json:
            raise UsageError("--explain writes text, and no JSON")
        if options.explain not in RULES:
            raise UsageError(f"{options.explain!r} is no rule; docs/rules.md lists them")
        return
    if not options.files:
        raise UsageError("no file given")
    wrong = wrong_beginning([*options.select, *options.ignore])
    if wrong is not None:
        raise UsageError(wrong)


def _write(options: ValidateOptions, verdict: Verdict, output: Output) -> None:
    from qmig.render.report_validate import build_validate_report

    report: Document = build_validate_report(verdict, options.files)
    if options.json:
        from qmig.render.jsonout import json_text

        output.write(json_text(report))
        return
    from qmig.render.text import bold, plain
    from qmig.render.text_validate import validate_text_lines

    coloured = output.to_terminal and not os.environ.get("NO_COLOR")
    heading = bold if coloured else plain
    some_rules = bool(options.select or options.ignore)
    output.write_lines(validate_text_lines(report, heading=heading, some_rules=some_rules))


def _exit_code(options: ValidateOptions, verdict: Verdict) -> int:
    if options.fail_on != NEVER:
        ranks = list(Severity)  # the worst first
        fatal = ranks[: ranks.index(Severity(options.fail_on)) + 1]
        if any(verdict.count(severity) for severity in fatal):
            return BAD_INPUT
    return CANNOT_JUDGE if verdict.unjudged else FINE
