"""What is found to be wrong with a capture, and how much of that is kept."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from qmig.checks.finding import Finding
from qmig.checks.registry import RULES
from qmig.checks.rule import Severity
from qmig.limits import MAX_FINDINGS_OF_A_RULE

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from qmig.capture.container import Container
    from qmig.checks.missing import Missing
    from qmig.errors import QmigError


class NotRead(NamedTuple):
    """Bytes behind damage, up to where reading went on.

    Attributes:
        path: name of the file.
        offset: first byte.
        length: number of bytes.
    """

    path: str
    offset: int
    length: int


@dataclass
class Verdict:
    """What the rules say of a capture.

    Attributes:
        findings: what is wrong, file after file in the order of the bytes; of one rule at most
            `MAX_FINDINGS_OF_A_RULE`.
        counts: rule id -> how often it was found broken, those not kept included.
        not_read: places that could not be read, of which nothing is known.
        missing: what of a damaged capture is not there; None where it could be read.
        unjudged: why a part of the capture could not be judged.
    """

    findings: list[Finding] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    not_read: list[NotRead] = field(default_factory=list)
    missing: Missing | None = None
    unjudged: list[QmigError] = field(default_factory=list)

    def count(self, severity: Severity) -> int:
        """Return how many findings of a severity there are, those not kept included."""
        return sum(
            number for rule_id, number in self.counts.items() if RULES[rule_id].severity is severity
        )

    @property
    def sound(self) -> bool:
        """Whether there is no error, and all of the capture could be judged."""
        return not self.unjudged and not self.count(Severity.ERROR)


class Reporter:
    """Takes what checks report, as far as it is asked for.

    Args:
        select: beginnings of rule ids ("QM2", "QM201") to report; empty: all.
        ignore: beginnings of rule ids not to report, even if selected.
    """

    def __init__(self, select: Collection[str] = (), ignore: Collection[str] = ()) -> None:
        self.verdict = Verdict()
        self._select = tuple(select)
        self._ignore = tuple(ignore)

    def __call__(
        self,
        rule_id: str,
        container: Container,
        *,
        offset: int,
        record: str,
        expected: str,
        found: str,
        length: int = 0,
        field: str | None = None,
        hint: str | None = None,
        **values: int | str,
    ) -> Finding | None:
        """Report that a rule is broken; see `Finding`.

        Returns:
            The finding; None where the rule was not asked for, or has too many already.
        """
        return self.add(
            rule_id,
            container.source.name,
            offset=offset,
            length=length,
            record=record,
            field=field,
            expected=expected,
            found=found,
            hint=hint,
            values=values,
        )

    def add(
        self,
        rule_id: str,
        path: str,
        *,
        offset: int,
        record: str,
        expected: str,
        found: str,
        length: int = 0,
        field: str | None = None,
        hint: str | None = None,
        values: Mapping[str, int | str],
    ) -> Finding | None:
        """Report a broken rule in a file of a name; see `__call__`.

        A value `untold` says that the file does not tell which message it will be.
        """
        rule = RULES[rule_id]
        if not self.wants(rule_id):
            return None
        self.verdict.counts[rule_id] += 1
        if self.verdict.counts[rule_id] > MAX_FINDINGS_OF_A_RULE:
            return None
        message = rule.message
        if message is not None:
            message = None if values.get("untold") else message.format(**values)
        finding = Finding(
            rule,
            path,
            offset,
            length,
            record,
            expected,
            found,
            field=field,
            message=message,
            hint=hint,
        )
        self.verdict.findings.append(finding)
        return finding

    def wants(self, rule_id: str) -> bool:
        """Tell whether findings of a rule are asked for."""
        if self._select and not rule_id.startswith(self._select):
            return False
        return not (self._ignore and rule_id.startswith(self._ignore))
