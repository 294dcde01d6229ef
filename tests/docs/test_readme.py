"""The README says what is: its commands, its example, its links, its names."""

import re
from pathlib import Path

import pytest

import qmig
from tests.corpus import Corpus
from tests.docs.readme import README, ROOT, commands, render_example, replace_example

PAGES = [README, *sorted((ROOT / "docs").rglob("*.md")), ROOT / "tests" / "bench" / "README.md"]
# A link to a file of the project; addresses elsewhere are not looked up.
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


def test_example_is_what_the_command_prints() -> None:
    readme = README.read_text()
    assert replace_example(readme, render_example()) == readme, "python -m tests.docs.update"


def test_ci_runs_the_commands_to_the_letter() -> None:
    ci = (ROOT / ".ci" / "run").read_text()
    inspect, tests = commands()
    assert f"    {inspect}\n" in ci
    assert f"    {tests} || return 1\n" in ci


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page: Path) -> None:
    links = LINK.findall(page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_python_example_runs(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (path,) = corpus.files("qemu-10.0-live")
    block = README.read_text().partition("```python\n")[2].partition("```")[0]
    assert '"vm.sav"' in block
    monkeypatch.chdir(path.parent)
    names: dict[str, object] = {}
    exec(block.replace("vm.sav", path.name), names)  # noqa: S102  # the README's own lines
    with qmig.open_capture(path) as capture:
        assert names["page"] == capture.ram["pc.ram"].read(0x100000, 4096)
    assert "pc.ram 4194304" in capsys.readouterr().out
