"""The help texts: documented, narrow enough, and with all options."""

import re

import pytest

from tests.cli.conftest import Run
from tests.cli.update import CLI_DOCUMENT, cli_document


def test_help_is_what_the_documents_say() -> None:
    assert CLI_DOCUMENT.read_text() == cli_document(), "run python -m tests.cli.update"


@pytest.mark.parametrize("command", [[], ["inspect"], ["save"]])
def test_help_is_the_same_without_arguments_and_fits(command: list[str], qmig: Run) -> None:
    asked = qmig([*command, "--help"], env={"COLUMNS": "100"})
    bare = qmig(command, env={"COLUMNS": "100"})
    assert asked.code == 0
    assert bare.code == 2
    assert asked.out.strip() == (bare.out + bare.err).strip()
    assert all(len(line) <= 100 for line in asked.out.splitlines())


def test_every_option_has_a_help_text(qmig: Run) -> None:
    text = qmig(["inspect", "--help"]).out
    for option in ("--json", "--json-lines", "--sections", "--ram", "--channels", "--page-size"):
        assert re.search(rf"^  {option}( [A-Z]+)?\s+\w", text, re.MULTILINE), option
    for option in ("--offset", "--output", "--force", "--quiet"):
        assert re.search(rf"^  {option}( [A-Z]+)?\s+\w", text, re.MULTILINE), option
    assert "qmig inspect main.bin ch1.bin ch2.bin" in text
