"""`docs/rules.md` is what the rules say."""

from qmig.checks.registry import RULES
from tests.docs.rules_page import RULES_PAGE, render_rules


def test_page_is_up_to_date() -> None:
    assert RULES_PAGE.read_text() == render_rules(), "run python -m tests.docs.update"


def test_page_has_every_rule_once() -> None:
    page = RULES_PAGE.read_text()
    for rule_id in RULES:
        assert page.count(f"\n### {rule_id}\n") == 1
