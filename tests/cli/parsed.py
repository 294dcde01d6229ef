"""What the option parser makes of a command line, and what a command line loads."""

import json
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

from qmig.cli.app import run
from tests.cli.conftest import ROOT


class Kept:
    """Stands in the place of a verb, and keeps what it is asked for."""

    def __init__(self) -> None:
        self.requests: list[object] = []

    def __call__(self, request: object) -> int:
        self.requests.append(request)
        return 0


def parse(verb: str, arguments: list[str]) -> int:
    """Let the option parser read a command line; return the exit code."""
    with patch.object(sys, "argv", ["qmig", verb, *arguments]):
        return run()


def modules_loaded_by(*arguments: str | Path) -> set[str]:
    """Run a command in a process of its own, which must end well; return its modules."""
    script = (
        f"import sys; sys.argv = {['qmig', *map(str, arguments)]!r}\n"
        "from qmig.__main__ import main\n"
        "assert main() == 0\n"
        "loaded = list(sys.modules)\n"
        "import json; print(json.dumps(loaded))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))
