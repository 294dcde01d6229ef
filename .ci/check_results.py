"""Judge a JUnit report of pytest by what must not happen in silence: skipped tests."""

import argparse
import sys
from pathlib import Path
from xml.etree import ElementTree


def main() -> int:
    """Return 1 when tests were skipped for another reason than the one that is allowed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=Path)
    parser.add_argument("--skipped-for", default=None, help="skips whose reason has this are fine")
    parser.add_argument("--at-least", type=int, default=1, help="how many tests must have run")
    options = parser.parse_args()
    cases = list(ElementTree.parse(options.report).iter("testcase"))  # noqa: S314  # pytest wrote it just now
    skips = [(case, skip) for case in cases for skip in case.iter("skipped")]
    allowed = options.skipped_for
    wrong = [
        f"{case.get('classname')}.{case.get('name')}: {skip.get('message')}"
        for case, skip in skips
        if allowed is None or allowed not in (skip.get("message") or "")
    ]
    ran = len(cases) - len(skips)
    for line in wrong:
        print(f"skipped: {line}", file=sys.stderr)
    if ran < options.at_least:
        print(f"only {ran} tests ran, not {options.at_least}", file=sys.stderr)
    return 1 if wrong or ran < options.at_least else 0


if __name__ == "__main__":
    sys.exit(main())
