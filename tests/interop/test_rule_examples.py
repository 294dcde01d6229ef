"""The stream that breaks a rule alone, and a real QEMU 10.0: it does and prints what the rule says.

The examples of multifd are left to `test_broken_streams.py`: what a destination does with channels
depends on which of its threads is first.
"""

from pathlib import Path
from typing import Final

import pytest

import qmig
from qmig.capture.requirements import Kind, requirements
from qmig.checks.registry import RULES
from qmig.checks.rule import Outcome, Severity
from tests.checks.example import MAIN, write_files
from tests.checks.examples import all_examples
from tests.conftest import FindQemu
from tests.interop.broken_streams import Capture
from tests.interop.test_broken_streams import RELEASE, answer_of

pytestmark = [pytest.mark.qemu, pytest.mark.timeout(60)]

EXAMPLES: Final = all_examples()

# Rules whose example a destination cannot be asked about alone, and why.
NOT_ASKED: Final = {
    "QM057": "10.0 takes the inner length from what follows: it refuses, and once it died of it",
    "QM090": "the ceiling is one of this tool",
    "QM099": "the machine none has no live handler but ram",
    "QM121": "10.0 has no capability compress to be set",
    "QM122": "10.0 has no capability compress to be set",
    "QM126": "it says what the rule says, and waits for a recovery",
    "QM420": "the machine none has no disk; `test_mutated_fixtures.py` asks one that has",
    "QM421": "the machine none has no disk; `test_mutated_fixtures.py` asks one that has",
    "QM422": "the machine none has no disk; `test_mutated_fixtures.py` asks one that has",
    "QM213": "the machine none has no block of an odd length",
}
ASKED: Final = [
    rule_id
    for rule_id, example in EXAMPLES.items()
    if rule_id not in NOT_ASKED
    and rule_id[:3] in ("QM0", "QM1", "QM2", "QM4")
    and list(example.broken().files) == [MAIN]
]


def destination_capabilities(paths: list[Path]) -> dict[str, bool]:
    """Return what a destination must set to load files."""
    with qmig.open_capture(*paths) as capture:
        return {
            ask.name: bool(ask.value)
            for ask in requirements(capture)
            if ask.kind is Kind.CAPABILITY and ask.name != "return-path"
        }


@pytest.mark.parametrize("rule_id", ASKED)
def test_destination_does_what_the_rule_says(
    rule_id: str, find_qemu: FindQemu, tmp_path: Path
) -> None:
    rule, example = RULES[rule_id], EXAMPLES[rule_id]
    for name in ("sound", "broken", "run"):
        (tmp_path / name).mkdir()
    sound = write_files(example.sound(), tmp_path / "sound")
    broken = example.broken()
    files = write_files(broken.files, tmp_path / "broken")
    capture = Capture(b"", capabilities=destination_capabilities(sound))
    answer = answer_of(find_qemu(RELEASE), capture, files, tmp_path / "run")
    assert answer.outcome is rule.outcome or (
        rule.outcome is Outcome.LOADS_WRONG and answer.outcome is Outcome.LOADS
    ), answer
    if rule.severity is Severity.ERROR and answer.outcome is Outcome.LOADS:
        assert rule.outcome is Outcome.LOADS_WRONG
    verdict = qmig.validate(*files)
    for finding in verdict.findings:
        if finding.message is not None:
            assert finding.message in answer.lines, (finding.message, answer)
