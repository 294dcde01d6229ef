"""All examples of rules, by id."""

from collections.abc import Mapping
from importlib import import_module
from typing import Final

from tests.checks.example import Example

# One module for each family of rules; a family's module declares `EXAMPLES`.
FAMILIES: Final = (
    "broken_framing",
    "broken_commands",
    "broken_ram",
    "broken_mapped_ram",
    "broken_multifd",
    "broken_devices",
    "broken_containers",
)


def all_examples() -> Mapping[str, Example]:
    """Return rule id -> example; an id stands in one family alone."""
    examples: dict[str, Example] = {}
    for family in FAMILIES:
        module = import_module(f"tests.checks.{family}")
        twice = examples.keys() & module.EXAMPLES.keys()
        assert not twice, twice
        examples.update(module.EXAMPLES)
    return examples
