"""The committed pages are those that the schemas give today."""

import importlib
import pkgutil
import re

import pytest

import qmig.wire
from qmig.wire.record import WireRecord
from tests.docs.format_pages import (
    BEGIN,
    END,
    PAGES,
    PAGES_DIRECTORY,
    page_path,
    render_page,
    replace_generated,
)

NO_RECORDS = {"gate", "record"}  # how schemas are used, not what the bytes are


@pytest.mark.parametrize("name", PAGES)
def test_page_is_what_the_schemas_give(name: str) -> None:
    page = page_path(name).read_text()
    assert replace_generated(page, render_page(name)) == page, "python -m tests.docs.update"


@pytest.mark.parametrize("name", PAGES)
def test_every_record_and_field_is_on_its_page(name: str) -> None:
    """Looks the fields up in the classes, not through the code that made the page."""
    page = page_path(name).read_text()
    modules = [importlib.import_module(f"qmig.wire.{module}") for module in PAGES[name]]
    records = [
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, WireRecord)
        and value.__module__ == module.__name__
    ]
    assert records or name in {"vmdesc", "magic"}
    for record in records:
        section = page.partition(f"\n## {record.__name__}\n")[2].partition("\n## ")[0]
        fields = re.findall(r"^\| [^|]+ \| `(\w+)` \|", section, re.MULTILINE)
        assert fields == list(record.DOCS)
        for text in record.DOCS.values():
            assert text in section


def test_every_module_has_its_page_and_every_page_its_module() -> None:
    modules = {info.name for info in pkgutil.iter_modules(qmig.wire.__path__)} - NO_RECORDS
    assert modules == {module for shown in PAGES.values() for module in shown}
    assert {path.stem for path in PAGES_DIRECTORY.glob("*.md")} == {*PAGES, "README"}


def test_index_links_every_page() -> None:
    index = (PAGES_DIRECTORY / "README.md").read_text()
    assert sorted(re.findall(r"\((\w+)\.md\)", index)) == sorted(PAGES)


def test_prose_behind_the_generated_part_is_kept() -> None:
    page = f"{BEGIN}\nold\n{END}\n\nprose\n"
    assert replace_generated(page, f"{BEGIN}\nnew\n{END}\n") == f"{BEGIN}\nnew\n{END}\n\nprose\n"


def test_page_without_marks_is_not_overwritten() -> None:
    with pytest.raises(ValueError, match="generated part"):
        replace_generated("only prose\n", f"{BEGIN}\nnew\n{END}\n")
