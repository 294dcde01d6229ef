"""Write `docs/format/`, `docs/rules.md` and the README's example anew.

Run it as `python -m tests.docs.update`.
"""

import sys
from pathlib import Path

from tests.docs.format_pages import PAGES, page_path, render_page, replace_generated
from tests.docs.readme import README, render_example, replace_example
from tests.docs.rules_page import RULES_PAGE, render_rules


def main() -> int:
    """Write each page that differs from what it should be, and name it."""
    for name in PAGES:
        path = page_path(name)
        before = path.read_text() if path.exists() else ""
        _write(path, before, replace_generated(before, render_page(name)))
    _write(RULES_PAGE, RULES_PAGE.read_text() if RULES_PAGE.exists() else "", render_rules())
    readme = README.read_text()
    _write(README, readme, replace_example(readme, render_example()))
    return 0


def _write(path: Path, before: str, after: str) -> None:
    if after != before:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(after)
        print(path.name)


if __name__ == "__main__":
    sys.exit(main())
