"""What is expected of each report: its JSON by the schema that is documented, and golden texts."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

_SCHEMAS = Path(__file__).resolve().parents[1] / "docs" / "json"


@cache
def schema_of(verb: str) -> dict[str, Any]:
    """Return the schema of a verb's document; it must be one itself."""
    schema: dict[str, Any] = json.loads((_SCHEMAS / f"{verb}-1.schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    return schema


@cache
def validator_of(verb: str) -> Draft202012Validator:
    """Return what holds the document of a verb against its schema."""
    return Draft202012Validator(schema_of(verb))


def read_document(text: str, verb: str) -> dict[str, Any]:
    """Read the document that a verb wrote; it must be ASCII, and follow the schema."""
    found: dict[str, Any] = json.loads(text)
    validator_of(verb).validate(found)
    assert text.isascii()
    return found


def require_reasons(document: object) -> None:
    """Require that each null in a document has its reason, and each reason its null."""
    for item in _objects(document):
        nulls = {key for key, value in item.items() if value is None}
        assert nulls == set(item.get("absent", {})), item


def require_golden(text: str, golden: Path, *, update: bool) -> None:
    """Require that a text is that of a golden file, or write it there anew."""
    if update:
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text)
    assert text == golden.read_text()


def _objects(value: object) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for item in inner:
        yield from _objects(item)
