"""Text for terminals: harmless, cut, aligned."""

import io
import sys
from collections.abc import Callable
from typing import Any

import pytest

from qmig.render import progress
from qmig.render.progress import ComparisonProgress, SurveyProgress
from qmig.render.table import Column, pairs, table
from qmig.render.words import columns, cut, full_size, harmless, pure, share, short_size, wrapped


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("pc.ram", "pc.ram"),
        ("a\x1b[31mb\r\n\x07", "a\\x1b[31mb\\x0d\\x0a\\x07"),
        ("\x9b2J\x7f", "\\x9b2J\\x7f"),
        ("\udcff\udc80", "\\xff\\x80"),
        ("‮⁦", "\\u202e\\u2066"),
        ("\ud800", "\\ud800"),
        ("\U000e0001", "\\U000e0001"),
        ("größe 内存", "größe 内存"),
    ],
)
def test_harmless(text: str, shown: str) -> None:
    assert harmless(text) == shown


def test_pure_text_can_be_encoded() -> None:
    assert pure("a\udcffb\ud800") == "a\\xffb\\ud800"
    assert pure("内存\x1b") == "内存\x1b"


def test_cut_keeps_both_ends() -> None:
    assert cut("abcdefghij", 10) == "abcdefghij"
    assert cut("abcdefghijk", 10) == "abcd...ijk"
    assert columns(cut("内" * 30, 11)) <= 11


@pytest.mark.parametrize("text", ["abcdefgh", "内存内存内存"])
def test_cut_ends_for_any_width(text: str) -> None:
    assert [columns(cut(text, width)) <= max(0, width) for width in range(-2, 9)] == [True] * 11


def test_wrapped_never_passes_the_width() -> None:
    lines = wrapped("word " * 50 + "x" * 300, first="  - ", rest="    ", width=40)
    assert all(len(line) <= 40 for line in lines)
    assert len(lines) > 5


def test_sizes() -> None:
    assert [short_size(n) for n in (0, 1023, 1024, 4 << 20, 771_619_644, 1 << 70)] == [
        "0 B",
        "1023 B",
        "1 KiB",
        "4 MiB",
        "735.9 MiB",
        "1024 EiB",
    ]
    assert full_size(1) == "1 byte"
    assert full_size(842_777) == "823 KiB (842,777 bytes)"
    assert [share(p, 1000) for p in (0, 1, 999, 1000)] == ["-", "0.1%", "99.9%", "100.0%"]
    assert share(1, 100_000) == "<0.1%"


def test_table_gives_way_in_its_flexible_column() -> None:
    heads = [Column("name", flexible=True), Column("n", right=True), Column("x", optional=True)]
    lines = table(heads, [("n" * 200 + "end", "1", ""), ("内存", "22", "")], width=40)
    assert [columns(line) <= 40 for line in lines] == [True] * 3
    assert lines[1].endswith("end   1")
    assert {columns(line) for line in lines} == {40}
    assert "x" not in lines[0]


def test_pairs_go_on_below_their_text() -> None:
    lines = pairs([("label", "word " * 40), ("x", "y")])
    assert lines[1].startswith(" " * 9 + "word")
    assert all(len(line) <= 100 for line in lines)


def test_a_label_from_outside_is_harmless_and_gives_way() -> None:
    lines = pairs([("-M \x1b[2J\n", "reason"), ("-M " + "n" * 300, "another reason")])
    assert lines[0] == r"  -M \x1b[2J\x0a  reason"
    assert all(line.isprintable() and columns(line) <= 100 for line in lines)
    assert lines[-1].strip() == "another reason"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class FakeSource:
    def end(self) -> int:
        return 1000


class FakeContainer:
    path = "a\x1b]0;evil\x07[red]b"
    source = FakeSource()


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool, float, io.StringIO], str]:
    def show(quiet: bool, seconds: float, stream: io.StringIO) -> str:
        now = [0.0]
        container: Any = FakeContainer()
        monkeypatch.setattr(progress, "monotonic", lambda: now[0])
        monkeypatch.setattr(sys, "stderr", stream)
        with SurveyProgress(quiet=quiet) as survey:
            now[0] = seconds
            survey(container, 500)
            survey(container, 600)
        return stream.getvalue()

    return show


def test_progress_of_a_comparison_goes_on_with_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    now, stream = [0.0], Terminal()
    monkeypatch.setattr(progress, "monotonic", lambda: now[0])
    monkeypatch.setattr(sys, "stderr", stream)
    container: Any = FakeContainer()
    with ComparisonProgress(quiet=False) as comparison:
        for step in (0.3, 0.6):
            now[0] = step
            comparison(container, 500)
        assert "ram" not in stream.getvalue()
        comparison.compared("pc.\x1b]0;ram", 1, 2)  # too soon after what was shown last
        now[0] = 0.9
        comparison.compared("pc.\x1b]0;ram", 1, 2)
    assert "ram pc.\\x1b]0;ram" in stream.getvalue()
    assert "[red]b" in stream.getvalue()


def test_progress_is_for_long_work_on_a_terminal(
    shown: Callable[[bool, float, io.StringIO], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    assert "[red]b" in shown(False, 0.6, Terminal())
    assert "evil" in shown(False, 0.6, Terminal())
    assert "\x1b]0;" not in shown(False, 0.6, Terminal())
    assert shown(False, 0.4, Terminal()) == ""
    assert shown(True, 0.6, Terminal()) == ""
    assert shown(False, 0.6, io.StringIO()) == ""
