"""`docs/rules.md`: every rule with what it asks for and what QEMU does where it is broken."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from qmig.checks.registry import RULES
from qmig.checks.rule import Outcome, Rule

RULES_PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "rules.md"

_FAMILIES: Final = {
    "QM0": "Framing and commands",
    "QM1": "RAM",
    "QM2": "mapped-ram",
    "QM3": "multifd",
    "QM4": "Devices and the vmdescription",
    "QM5": "Containers",
}
_HEAD: Final = """\
# The rules of `qmig validate`

Made by `python -m tests.docs.update` from the rules themselves; `qmig validate --explain QM017`
shows one of them.

An id stays with its rule. The severity says how bad it is to break it:

- **error**: a QEMU refuses the stream, hangs or crashes over it, or loads wrong data.
- **warning**: a QEMU loads it; it is suspicious, or another reader breaks.
- **note**: legal, and worth saying.

What QEMU does and prints is that of 10.0; words in braces stand for what was found. Behind each
message QEMU prints that the load failed, with the name of the section where it was in one. Each
rule has a stream in `tests/checks/` that breaks it alone and one that does not.

## What no rule judges

A capture shows what one side sent. What only a destination knows, no rule asks: whether its machine
type, devices, block sizes, guest UUID, page size and capabilities are those of the stream
(`qmig inspect` tells what they must be), whether it takes a section's version, and whether the
values inside a device's state please the device. Where the stream contradicts itself in these
things, there is a rule.

Of multifd, how many channels a destination is set to and whether it syncs them after each section
or each round are no less its own. A file that does not begin with the magic of a channel is not
taken for one. Channels are compared with each other and with the main stream only while none of
them is damaged, for what was passed over takes its pages, its number and perhaps a SYNC along; and
packet numbers are compared since 9.2 only, as they repeat up to 8.2.

Nor does a rule hold against a stream that it is for another release. Legal, though 10.0 refuses
them: compressed pages (COMPRESS_PAGE, 2.4 to 9.0), and mapped-ram with x-ignore-shared and shared
blocks, which 10.0 writes and cannot load itself. A stream without any block list cannot be judged:
a QEMU finds its blocks by the names of the pages, but their lengths are not known here.
"""


def render_rules() -> str:
    """Return the page as it should be."""
    return "\n".join([_HEAD, *_contents(), *_families()]) + "\n"


def _contents() -> Iterator[str]:
    yield "## All rules"
    yield ""
    yield "| rule | severity | a stream must |"
    yield "| --- | --- | --- |"
    for rule in RULES.values():
        yield f"| [{rule.id}](#{rule.id.lower()}) | {rule.severity.value} | {_cell(rule.title)} |"


def _families() -> Iterator[str]:
    for start, title in _FAMILIES.items():
        rules = [rule for rule in RULES.values() if rule.id.startswith(start)]
        if not rules:
            continue
        yield f"\n## {title}"
        for rule in rules:
            yield from _rule(rule)


def _rule(rule: Rule) -> Iterator[str]:
    yield f"\n### {rule.id}\n"
    yield f"A stream must {rule.title}."
    yield ""
    yield rule.explanation
    yield ""
    yield f"- severity: {rule.severity.value}"
    yield f"- QEMU 10.0: {_outcome(rule)}"
    if rule.message is not None:
        yield f"- {rule.speaker} prints: `{rule.message}`"
    yield f"- source: {rule.source}"


def _outcome(rule: Rule) -> str:
    said = "" if rule.message or rule.outcome is Outcome.NOT_ASKED else ", without words of its own"
    return f"{rule.outcome.value}{said}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
