"""The document of `qmig validate` as text for people, and a rule as a page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qmig.checks.rule import Outcome, Rule
from qmig.render.table import pairs
from qmig.render.text import plain
from qmig.render.words import (
    cut,
    full_size,
    grouped,
    harmless,
    hex_offset,
    plural,
    share,
    wrapped,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qmig.render.document import Document

_MOST_DEVICES: Final = 12
_INDENT: Final = "  "
_DEEP: Final = "      "
_OUTCOMES: Final = {
    Outcome.REFUSES: "refuses it",
    Outcome.LOADS: "loads it",
    Outcome.LOADS_WRONG: "loads it, with wrong data",
    Outcome.REFUSES_OR_HANGS: "refuses it, or hangs",
    Outcome.HANGS: "hangs",
    Outcome.CRASHES: "crashes",
    Outcome.NOT_ASKED: "does not judge this",
}


def validate_text_lines(
    report: Document, *, heading: Callable[[str], str] = plain, some_rules: bool = False
) -> Iterator[str]:
    """Yield the lines of a report.

    Args:
        report: the document of `qmig.render.report_validate`.
        heading: gives headings their style.
        some_rules: whether not all rules were asked for, so that nothing is said of the whole.
    """
    yield from wrapped(_summary(report, some_rules=some_rules), first="", rest=_INDENT)
    if report["missing"] is not None:
        lines = list(_missing_lines(report["missing"]))
        if lines:
            yield ""
            yield heading("Missing")
            yield from lines
    if report["not_read"]:
        yield ""
        yield heading("Not read")
        yield from _not_read_lines(report)
    many = len({finding["path"] for finding in report["findings"]}) > 1
    rules = {rule["id"]: rule for rule in report["rules"]}
    for severity, title in (("error", "Errors"), ("warning", "Warnings"), ("note", "Notes")):
        found = [item for item in report["findings"] if item["severity"] == severity]
        if found:
            yield ""
            yield heading(title)
            for finding in found:
                yield from _finding_lines(finding, rules[finding["rule"]], with_path=many)
    left_out = [rule for rule in report["rules"] if rule["findings_left_out"]]
    for rule in left_out:
        count = plural(rule["findings_left_out"], "finding")
        yield f"{_INDENT}{rule['id']}: {count} more"
    if report["unjudged"]:
        yield ""
        yield heading("Not judged")
        for error in report["unjudged"]:
            yield from wrapped(harmless(error["text"]), first=f"{_INDENT}- ", rest=f"{_INDENT}  ")


def _summary(report: Document, *, some_rules: bool) -> str:
    names = [harmless(name) for name in report["files"]]
    first = cut(names[0], 60)
    what = first if len(names) == 1 else f"{first} and {plural(len(names) - 1, 'file')} more"
    return f"{what}: {_judgement(report, some_rules=some_rules)}"


def _judgement(report: Document, *, some_rules: bool) -> str:
    counts = report["counts"]
    told = ", ".join(
        plural(counts[severity], severity)
        for severity in ("error", "warning", "note")
        if counts[severity]
    )
    behind = f" ({told})" if told else ""
    verdict = report["verdict"]
    if some_rules and verdict in ("sound", "suspicious"):
        return f"no error by the rules that were asked for{behind}"
    if verdict == "sound":
        return f"whole and right{behind}"
    if verdict == "suspicious":
        return f"suspicious{behind}; QEMU 10.0 loads it"
    if verdict == "not judged":
        return f"could not be judged to its end{behind}"
    outcomes = {rule["outcome"] for rule in report["rules"] if rule["severity"] == "error"}
    worst = next(
        (_OUTCOMES[outcome] for outcome in _WORST_FIRST if outcome.value in outcomes), "refuses it"
    )
    return f"damaged{behind}; QEMU 10.0 {worst}"


# Of several broken rules the worst is told: which of them a destination meets first is not known.
_WORST_FIRST: Final = (
    Outcome.CRASHES,
    Outcome.HANGS,
    Outcome.REFUSES_OR_HANGS,
    Outcome.REFUSES,
    Outcome.LOADS_WRONG,
    Outcome.LOADS,
    Outcome.NOT_ASKED,
)


def _missing_lines(missing: Document) -> Iterator[str]:
    if not missing["block_list"]:
        yield f"{_INDENT}the block list, and with it all RAM"
    rows = [
        (
            cut(harmless(pages["block"]), 40),
            f"{grouped(pages['read_pages'])} of {plural(pages['pages'], 'page')} are there "
            f"({share(pages['read_pages'], pages['pages'])})",
        )
        for pages in missing["ram"]
    ]
    yield from pairs(rows)
    if missing["ram_may_be_old"]:
        yield f"{_INDENT}later versions of pages that are there: which were sent is not known"
    devices = missing["devices"]
    if devices:
        names = [f"{device['name']} {device['instance_id']}" for device in devices[:_MOST_DEVICES]]
        more = len(devices) - len(names)
        listed = ", ".join([*names, *([f"{more} more"] if more else [])])
        yield from wrapped(
            harmless(f"{plural(len(devices), 'device')}: {listed}"), first=_INDENT, rest=_DEEP
        )
    if not missing["devices_known"]:
        yield f"{_INDENT}all devices that would follow, and the vmdescription, which lists them"


def _not_read_lines(report: Document) -> Iterator[str]:
    many = len({place["path"] for place in report["not_read"]}) > 1
    for place in report["not_read"][:_MOST_DEVICES]:
        where = f" of {cut(harmless(place['path']), 50)}" if many else ""
        yield f"{_INDENT}{hex_offset(place['offset'])}{where}: {full_size(place['length'])}"
    more = len(report["not_read"]) - _MOST_DEVICES
    if more > 0:
        yield f"{_INDENT}and {plural(more, 'place')} more"


def _finding_lines(finding: Document, rule: Document, *, with_path: bool) -> Iterator[str]:
    what = harmless(finding["record"])
    if finding["field"] is not None:
        what += f": {harmless(finding['field'])}"
    path = f"{cut(harmless(finding['path']), 40)} " if with_path else ""
    yield from wrapped(
        f"{path}{hex_offset(finding['offset'])} {finding['rule']} {what}",
        first=_INDENT,
        rest=_DEEP,
    )
    told = f"expected {finding['expected']}, found {finding['found']}"
    yield from wrapped(harmless(told), first=_DEEP, rest=_DEEP)
    if finding["hint"] is not None:
        yield from wrapped(harmless(finding["hint"]), first=_DEEP, rest=_DEEP)
    if finding["message"] is not None:
        yield from wrapped(
            harmless(f"{rule['speaker']}: {finding['message']}"), first=_DEEP, rest=_DEEP
        )
    elif finding["severity"] != "note":
        outcome = _OUTCOMES[Outcome(rule["outcome"])]
        yield f"{_DEEP}QEMU {outcome} and says nothing of its own"


def rule_text_lines(rule: Rule) -> Iterator[str]:
    """Yield the lines that explain a rule."""
    yield from wrapped(f"{rule.id}: a stream must {rule.title}", first="", rest=_INDENT)
    yield ""
    yield from pairs(
        [
            ("severity", rule.severity.value),
            ("QEMU 10.0", _OUTCOMES[rule.outcome]),
            (f"{rule.speaker} says", rule.message or "nothing of its own"),
            ("source", rule.source),
        ]
    )
    yield ""
    yield from wrapped(rule.explanation, first=_INDENT, rest=_INDENT)
