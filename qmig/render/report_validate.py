"""What `qmig validate` tells: a versioned document, which both the text and the JSON are made of.

The document is described in `docs/json/validate.md`, and by a JSON schema beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qmig._version import __version__
from qmig.checks.registry import RULES
from qmig.checks.rule import Severity
from qmig.render.document import Document, known, make
from qmig.render.report import error_object
from qmig.render.words import pure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qmig.checks.finding import Finding
    from qmig.checks.missing import Missing
    from qmig.checks.rule import Rule
    from qmig.checks.verdict import Verdict

SCHEMA: Final = "qmig.validate/1"
_WHOLE_RECORD: Final = "it is about the record as a whole"


def build_validate_report(verdict: Verdict, files: Sequence[str]) -> Document:
    """Return the document about a verdict.

    Args:
        verdict: what was found.
        files: the files as they were named.
    """
    broken = sorted(verdict.counts)
    kept = dict.fromkeys(broken, 0)
    for finding in verdict.findings:
        kept[finding.rule.id] += 1
    return make(
        schema=SCHEMA,
        qmig_version=__version__,
        files=[pure(name) for name in files],
        verdict=_verdict(verdict),
        counts={severity.value: verdict.count(severity) for severity in Severity},
        missing=known(
            None if verdict.missing is None else _missing(verdict.missing),
            "all of it could be read, or none of it",
        ),
        not_read=[
            make(path=pure(place.path), offset=place.offset, length=place.length)
            for place in verdict.not_read
        ],
        findings=[_finding(finding) for finding in verdict.findings],
        rules=[_rule(RULES[rule_id], verdict.counts[rule_id], kept[rule_id]) for rule_id in broken],
        unjudged=[error_object(error) for error in verdict.unjudged],
    )


def _verdict(verdict: Verdict) -> str:
    if verdict.count(Severity.ERROR):
        return "damaged"
    if verdict.unjudged:
        return "not judged"
    return "suspicious" if verdict.count(Severity.WARNING) else "sound"


def _missing(missing: Missing) -> Document:
    return make(
        block_list=missing.block_list,
        ram=[
            make(block=pure(pages.block), pages=pages.pages, read_pages=pages.read_pages)
            for pages in missing.ram
        ],
        ram_may_be_old=missing.ram_may_be_old,
        devices=[make(name=pure(name), instance_id=at) for name, at in missing.devices],
        devices_known=missing.devices_known,
    )


def _finding(finding: Finding) -> Document:
    return make(
        rule=finding.rule.id,
        severity=finding.rule.severity.value,
        path=pure(finding.path),
        offset=finding.offset,
        length=finding.length,
        record=pure(finding.record),
        field=known(finding.field and pure(finding.field), _WHOLE_RECORD),
        expected=pure(finding.expected),
        found=pure(finding.found),
        message=known(
            finding.message and pure(finding.message), "QEMU prints nothing of its own for this"
        ),
        hint=known(finding.hint and pure(finding.hint), "there is none"),
    )


def _rule(rule: Rule, count: int, kept: int) -> Document:
    return {
        "id": rule.id,
        "title": rule.title,
        "severity": rule.severity.value,
        "outcome": rule.outcome.value,
        "explanation": rule.explanation,
        "speaker": rule.speaker,
        "source": rule.source,
        "count": count,
        "findings_left_out": count - kept,
    }
