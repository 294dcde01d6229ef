"""Write the pages of `docs/format/` anew: `python -m tests.docs.update`."""

import sys

from tests.docs.format_pages import MODULES, page_path, render_page, replace_generated


def main() -> int:
    """Write each page that differs from its module."""
    for name in MODULES:
        path = page_path(name)
        before = path.read_text() if path.exists() else ""
        after = replace_generated(before, render_page(name))
        if after != before:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(after)
            print(path.name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
