"""What is not judged for its size is said to be not judged."""

from pathlib import Path

import pytest

import qmig
from qmig.checks import multifd_log
from qmig.checks.judge import Judge
from qmig.errors import LimitExceededError
from tests.checks.broken_multifd import EXAMPLES


@pytest.mark.parametrize("ceiling", ["MAX_JUDGED_PACKETS", "MAX_JUDGED_PAGE_RUNS"])
def test_more_than_is_compared(
    ceiling: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = []
    for name, data in EXAMPLES["QM345"].broken().files.items():
        paths.append(tmp_path / name)
        paths[-1].write_bytes(data)
    monkeypatch.setattr(multifd_log, ceiling, 3)
    with qmig.open_capture(*paths) as capture:
        verdict = Judge(capture).run()
    (unjudged,) = verdict.unjudged
    assert isinstance(unjudged, LimitExceededError)
    assert "side by side" in str(unjudged)
    assert not verdict.sound


def test_damaged_channel_is_not_compared(tmp_path: Path) -> None:
    """A packet that was passed over takes its number, its pages and perhaps a SYNC along."""
    paths = []
    for name, data in EXAMPLES["QM310"].broken().files.items():
        paths.append(tmp_path / name)
        paths[-1].write_bytes(data)
    with qmig.open_capture(*paths) as capture:
        verdict = Judge(capture).run()
    assert {found.rule.id for found in verdict.findings} == {"QM310"}
