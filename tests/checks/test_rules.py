"""Each rule has an example that breaks it alone, and one that does not."""

import re
from pathlib import Path

import pytest

from qmig.checks.registry import CHECKS, RULES
from qmig.checks.rule import Outcome, Rule, Severity
from qmig.checks.validate import validate
from qmig.checks.verdict import Verdict
from qmig.faults import Fault
from tests.checks.example import Files, write_files
from tests.checks.examples import all_examples

EXAMPLES = all_examples()


def judged(files: Files, directory: Path) -> Verdict:
    """Validate files of a capture."""
    return validate(*write_files(files, directory))


def test_every_rule_has_an_example() -> None:
    assert sorted(EXAMPLES) == sorted(RULES)


@pytest.mark.parametrize("rule_id", sorted(EXAMPLES))
def test_broken_example_breaks_its_rule_alone(rule_id: str, tmp_path: Path) -> None:
    example = EXAMPLES[rule_id]
    broken = example.broken()
    verdict = judged(broken.files, tmp_path)
    told = [str(finding) for finding in verdict.findings]
    assert verdict.unjudged == []
    assert set(verdict.counts) - example.notes == {rule_id}, told
    assert all(RULES[name].severity is Severity.NOTE for name in example.notes)
    first = next(finding for finding in verdict.findings if finding.rule.id == rule_id)
    assert first.path.startswith(str(tmp_path / broken.file)), told
    assert first.offset == broken.offset, told
    if first.rule.message is not None:
        assert first.message
        assert "{" not in first.message


@pytest.mark.parametrize("rule_id", sorted(EXAMPLES))
def test_sound_example_has_no_error_and_no_warning(rule_id: str, tmp_path: Path) -> None:
    verdict = judged(EXAMPLES[rule_id].sound(), tmp_path)
    told = [str(finding) for finding in verdict.findings]
    assert verdict.sound, told
    assert not verdict.count(Severity.WARNING), told
    assert rule_id not in verdict.counts, told


@pytest.mark.parametrize("rule", RULES.values(), ids=list(RULES))
def test_rule_is_written_as_all_are(rule: Rule) -> None:
    assert re.fullmatch(r"QM\d{3}", rule.id)
    assert rule.title[0].islower()
    assert not rule.title.endswith(".")
    assert rule.explanation.endswith(".")
    assert rule.source
    if rule.severity is Severity.ERROR:
        assert rule.outcome is not Outcome.LOADS
    else:
        assert rule.outcome not in (Outcome.REFUSES, Outcome.CRASHES)


def test_ids_are_unique_and_in_order_of_their_families() -> None:
    families = [rule_id[:3] for rule_id in RULES]
    assert families == sorted(families)
    assert set(families) <= {f"QM{family}" for family in range(6)}


def test_every_fault_is_that_of_one_rule() -> None:
    named = [fault for rule in RULES.values() for fault in rule.faults]
    assert sorted(named) == sorted(Fault)


def test_checks_listen_to_names_of_records() -> None:
    assert len(set(CHECKS)) == len(CHECKS)
