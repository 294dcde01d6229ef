"""What `qmig diff` tells: a versioned document, which both the text and the JSON are made of.

The document is described in `docs/json/diff.md`, and by a JSON schema beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from qmig._version import __version__
from qmig.comparison.model import PageState, Side, What
from qmig.render.document import Document, known, make
from qmig.render.report import error_object
from qmig.render.words import pure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qmig.comparison.model import (
        BlockComparison,
        Comparison,
        FieldDifference,
        OnlySection,
        SectionDifference,
    )

SCHEMA: Final = "qmig.diff/1"
_NO_FIELD: Final = "it has no such field"
_NO_BLOCK: Final = "it has no such block"


def build_diff_report(found: Comparison, a: Sequence[str], b: Sequence[str]) -> Document:
    """Return the document about a comparison.

    Args:
        found: what differs.
        a: the files of A, as they were named.
        b: the files of B.
    """
    return make(
        schema=SCHEMA,
        qmig_version=__version__,
        outcome=found.outcome.value,
        a=_capture(a, found, 0),
        b=_capture(b, found, 1),
        accept_missing=found.accept_missing,
        summary=_summary(found),
        configuration=[_difference(one) for one in found.configuration],
        only=[_only(one) for one in found.only],
        sections=[_section(one) for one in found.sections],
        blocks=[_block(one) for one in found.blocks],
        ram_unknown=known(found.ram_unknown and pure(str(found.ram_unknown)), "it was compared"),
    )


def _capture(files: Sequence[str], found: Comparison, side: int) -> Document:
    return {
        "files": [pure(name) for name in files],
        "salvaged": found.salvaged[side],
        "errors": [error_object(error) for error in found.errors[side]],
    }


def _summary(found: Comparison) -> Document:
    differing = [section for section in found.sections if section.differs]
    return {
        "sections_in_both": found.sections_in_both,
        "sections_only_in_a": sum(one.side is Side.A for one in found.only),
        "sections_only_in_b": sum(one.side is Side.B for one in found.only),
        "sections_that_differ": len(differing),
        "fields_that_differ": sum(len(one.fields) + one.fields_left_out for one in differing),
        "ignored": found.configuration_ignored
        + found.only_ignored
        + sum(one.fields_ignored for one in found.sections)
        + sum(one.ignored for one in found.blocks),
        "pages": {
            state.value: sum(block.pages[state] for block in found.blocks) for state in PageState
        },
        "ranges": sum(len(block.ranges) + block.ranges_left_out for block in found.blocks),
    }


def _only(one: OnlySection) -> Document:
    return {
        "side": one.side.value,
        "name": pure(one.name),
        "instance_id": one.instance_id,
        "version_id": one.version_id,
        "length": one.length,
        "certain": one.certain,
    }


def _section(one: SectionDifference) -> Document:
    return make(
        name=pure(one.name),
        instance_id=one.instance_id,
        versions={"a": one.versions[0], "b": one.versions[1]},
        undecoded=known(one.undecoded and pure(one.undecoded), "its fields were compared"),
        fields=[_difference(field) for field in one.fields],
        fields_left_out=one.fields_left_out,
        fields_ignored=one.fields_ignored,
        facts=[
            make(
                name=pure(fact.name),
                a=known(_plain(fact.a), "it is not known"),
                b=known(_plain(fact.b), "it is not known"),
            )
            for fact in one.facts
        ],
    )


def _difference(one: FieldDifference) -> Document:
    document = make(
        path=pure(one.path),
        type=pure(one.kind),
        what=one.what.value,
        a=known(_plain(one.a), _NO_FIELD),
        b=known(_plain(one.b), _NO_FIELD),
    )
    if one.what is What.BYTES:
        document |= {"first": one.first, "differing_length": one.differing_len}
    return document


def _plain(value: object) -> Any:  # noqa: ANN401  # any JSON value
    if isinstance(value, bytes):
        return value.hex()
    return pure(value) if isinstance(value, str) else value


def _block(one: BlockComparison) -> Document:
    a, b = one.lengths
    return make(
        name=pure(one.name),
        lengths=make(a=known(a, _NO_BLOCK), b=known(b, _NO_BLOCK)),
        page_size=one.page_size_len,
        ignored=one.ignored,
        certain=one.certain,
        differs=one.differs,
        pages={state.value: count for state, count in one.pages.items()},
        ranges=[
            {"state": piece.state.value, "addr": piece.addr, "length": piece.length}
            for piece in one.ranges
        ],
        ranges_left_out=one.ranges_left_out,
        error=known(one.error and pure(str(one.error)), "it was read"),
    )
