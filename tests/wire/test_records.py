"""Every wire record: bytes to fields and back, its length in C, and where its fields are."""

import struct
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from construct import Array, Bytes

import qmig.wire
from qmig.wire.record import (
    WireRecord,
    dtype_of,
    fast_struct,
    field_struct,
    field_table,
    fixed_len,
    has_counted,
    subcon_of,
)
from tests.wire.triple import Triple
from tests.wire.triples import TRIPLES

each_triple = pytest.mark.parametrize("triple", TRIPLES, ids=lambda t: t.record.__name__)
FIXED = [triple for triple in TRIPLES if triple.size is not None]
each_fixed = pytest.mark.parametrize("triple", FIXED, ids=lambda t: t.record.__name__)


@each_triple
def test_bytes_give_fields_and_fields_give_bytes(triple: Triple) -> None:
    parsed = triple.record.parse(triple.raw)
    assert parsed.as_dict() == triple.values
    assert list(parsed.as_dict()) == list(triple.values), "in wire order"
    assert parsed.build() == triple.raw
    assert triple.record(**triple.values).build() == triple.raw


@each_triple
def test_length_is_that_of_c(triple: Triple) -> None:
    assert has_counted(triple.record) == (triple.size is None)
    if triple.size is not None:
        assert fixed_len(triple.record) == triple.size == len(triple.raw)


@each_triple
def test_fields_are_where_the_bytes_are(triple: Triple) -> None:
    table = field_table(triple.record)
    expected = triple.offsets
    assert table == {name: expected[name] for name in table}
    missing = [name for name in expected if name not in table]
    # The table ends at the first field whose length is in the bytes.
    assert list(expected)[: len(table)] == list(table)
    assert bool(missing) == (triple.size is None)


@each_triple
def test_every_field_is_documented_in_one_line(triple: Triple) -> None:
    assert list(triple.record.DOCS) == list(triple.values)
    for doc in triple.record.DOCS.values():
        assert doc
        assert "\n" not in doc


@each_fixed
def test_dtype_has_the_layout_of_the_schema(triple: Triple) -> None:
    dtype = dtype_of(triple.record)
    assert dtype.itemsize == triple.size
    assert dtype.names == tuple(triple.values)
    fields = dtype.fields
    assert fields is not None
    assert {name: (fields[name][1], fields[name][0].itemsize) for name in fields} == triple.offsets
    (row,) = np.frombuffer(triple.raw, dtype)
    for name, value in triple.values.items():
        found = row[name]
        if isinstance(value, bytes):
            assert found.tobytes() == value
        elif isinstance(value, list):
            assert found.tolist() == value
        else:
            assert int(found) == value


def is_flat(record: type[WireRecord]) -> bool:
    """Tell whether `struct` can express a record: big-endian integers and bytes alone."""
    subcons = [subcon_of(record, name) for name in record.DOCS]
    return not any(
        isinstance(subcon, Array) or getattr(subcon, "fmtstr", ">").startswith("<")
        for subcon in subcons
    )


@each_fixed
def test_fast_struct_agrees_with_the_schema(triple: Triple) -> None:
    if not is_flat(triple.record):
        with pytest.raises(TypeError, match=triple.record.__name__):
            fast_struct(triple.record)
        return
    fast = fast_struct(triple.record)
    assert fast.size == triple.size
    assert fast.unpack(triple.raw) == tuple(triple.values.values())
    assert fast.pack(*triple.values.values()) == triple.raw


@each_fixed
def test_field_struct_takes_the_fields_asked_for(triple: Triple) -> None:
    values = {name: value for name, value in triple.values.items() if not isinstance(value, list)}
    chosen = {name: value for at, (name, value) in enumerate(values.items()) if at % 2 == 0}
    if any(getattr(subcon_of(triple.record, n), "fmtstr", ">")[0] == "<" for n in chosen):
        with pytest.raises(TypeError, match=triple.record.__name__):
            field_struct(triple.record, *chosen)
        return
    fields = field_struct(triple.record, *chosen)
    assert fields.size == triple.size
    assert fields.unpack(triple.raw) == tuple(chosen.values())


def test_both_kinds_of_record_occur() -> None:
    flat = [triple for triple in FIXED if is_flat(triple.record)]
    assert 0 < len(flat) < len(FIXED)
    assert any(isinstance(subcon_of(t.record, f), Bytes) for t in flat for f in t.values)


def records_of(module: str) -> Iterator[type[WireRecord]]:
    for value in vars(import_module(module)).values():
        is_record = isinstance(value, type) and issubclass(value, WireRecord)
        if is_record and value is not WireRecord and value.__module__ == module:
            yield value


def test_every_record_has_its_triple() -> None:
    package = Path(qmig.wire.__file__).parent
    modules = [f"qmig.wire.{path.stem}" for path in package.glob("*.py") if path.stem[0] != "_"]
    declared = {record for module in modules for record in records_of(module)}
    assert len(declared) > 50
    assert declared <= {triple.record for triple in TRIPLES}
    assert len({triple.record for triple in TRIPLES}) == len(TRIPLES)


@each_triple
def test_a_record_needs_all_its_fields_and_no_others(triple: Triple) -> None:
    constants = triple.record._constants
    wanted = {name: value for name, value in triple.values.items() if name not in constants}
    assert triple.record(**wanted).build() == triple.raw
    with pytest.raises(TypeError, match="surprise"):
        triple.record(**wanted, surprise=1)
    for name in wanted:
        with pytest.raises(TypeError, match=name):
            triple.record(**{key: value for key, value in wanted.items() if key != name})


@each_triple
def test_equal_means_same_class_and_fields(triple: Triple) -> None:
    one, other = triple.record.parse(triple.raw), triple.record.parse(triple.raw)
    assert one == other
    for name, value in triple.values.items():
        changed = triple.record.parse(triple.raw)
        setattr(changed, name, value + 1 if isinstance(value, int) else [*value, 0])
        assert one != changed
    assert triple.record.__name__ in repr(one)


def test_little_endian_header_is_not_for_struct() -> None:
    record = next(t.record for t in TRIPLES if t.record.__name__ == "LibvirtSaveHeader")
    assert subcon_of(record, "version").fmtstr == "<L"
    with pytest.raises(KeyError):
        subcon_of(record, "no such field")
    with pytest.raises(struct.error):
        fast_struct(FIXED[0].record).unpack(b"")
