"""The README's example: what its first command prints, shortened by whole parts."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
README: Final = ROOT / "README.md"

# The parts of the report that make one screen; the others are left out, marked by dots.
SHOWN: Final = ("Main stream", "To load it", "Sections", "RAM", "Channels")
_MOST_LINES: Final = 14  # of one part
BEGIN: Final = "<!-- inspect: written by `python -m tests.docs.update` -->\n"
END: Final = "<!-- end of inspect -->\n"
_COMMAND: Final = re.compile(r"^python3 -m venv \.venv && .*$", re.MULTILINE)
_SECONDS: Final = 60


def commands() -> list[str]:
    """Return the README's commands that set everything up, in their order."""
    return _COMMAND.findall(README.read_text())


def render_example() -> str:
    """Run the inspection of the README's first command and return its shortened report."""
    *_, inspect = commands()[0].split(" && ")
    _, *arguments = shlex.split(inspect)
    files = [str(path) for word in arguments for path in _expanded(word)]
    done = subprocess.run(
        [sys.executable, "-m", "qmig", *files],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
    )
    parts = [part for part in re.split(r"\n\n(?=\S)", done.stdout.rstrip("\n")) if part]
    shown: list[str] = []
    for part in parts:
        if part.partition("\n")[0] in SHOWN:
            lines = part.partition("\n\n")[0].splitlines()  # what stands behind it is left out
            more = ["  ..."] if len(lines) > _MOST_LINES else []
            shown.append("\n".join([*lines[:_MOST_LINES], *more]))
        elif not shown or shown[-1] != "...":
            shown.append("...")
    return "\n".join([BEGIN.rstrip("\n"), "```text", "\n\n".join(shown), "```", END])


def replace_example(readme: str, example: str) -> str:
    """Return the README with its example replaced.

    Raises:
        ValueError: it has no place for one.
    """
    start, end = readme.find(BEGIN), readme.find(END)
    if not 0 <= start < end:
        raise ValueError("README.md has no marks of the example")
    return readme[:start] + example + readme[end + len(END) :]


def _expanded(word: str) -> list[Path | str]:
    if "*" not in word:
        return [word]
    return [path.relative_to(ROOT) for path in sorted(ROOT.glob(word))]
