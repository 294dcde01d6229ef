"""What `validate` must say of a capture that a real QEMU wrote: nothing but notes."""

from collections.abc import Sequence
from pathlib import Path

from qmig.checks.rule import Severity
from qmig.checks.validate import validate


def require_not_called_wrong(paths: Sequence[Path], ignore: Sequence[str] = ()) -> None:
    """Hold that a capture has no error and no warning, and that all of it was judged.

    Args:
        paths: its files.
        ignore: ids of rules that are not asked for.
    """
    verdict = validate(*paths, ignore=ignore)
    told = [str(finding) for finding in verdict.findings]
    assert verdict.unjudged == []
    assert verdict.sound, told
    assert not verdict.count(Severity.WARNING), told
    assert verdict.missing is None
    assert verdict.not_read == []
