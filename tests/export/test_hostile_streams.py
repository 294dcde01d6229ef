"""Streams that try to write elsewhere, or to keep a command busy: an error with its offset."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from tests.builders import ram, vmdesc
from tests.builders.machine import MainStream
from tests.cli.conftest import ROOT, Result

SECONDS: Final = 30
PAGE: Final = bytes(range(1, 17)) * 256
# Names of blocks as they stand in a stream: any bytes, up to 255.
NAMES: Final = {
    "parent": b"../outside",
    "many parents": b"../../../../../../outside",
    "absolute": b"/outside",
    "NUL": b"a\0/../../outside",
    "longest": b"n" * 255,
    "longest path": b"../" * 85,
    "line feed": b"line\nfeed\x1b[31m",
    "dots": b"..",
    "no text": b"\xff\xfe/\x80",
    "manifest": b"manifest.json",
}
ALIKE: Final = (b"a/b", b"a_b", b"a\0b", b"a\nb", b"A/b")
FORMATS: Final = ("blocks", "raw", "lime", "elf")


def stream(names: tuple[bytes, ...], description: bytes | None = None) -> bytes:
    """Return a stream with a block of two pages for each name, and one device."""
    made = MainStream("10.0", "none")
    made.ram_start(ram.block_list(ram.BlockEntry(name, 2 * 4096) for name in names))
    made.ram_part(b"".join(ram.page(0, PAGE, name) + ram.zero(4096) for name in names))
    made.ram_end()
    made.device(vmdesc.device("dev", 1, [vmdesc.field("value", "uint32", 4)]), b"\x01\x02\x03\x04")
    if description is None:
        return made.finish()
    return made.finish(describe=False) + vmdesc.vmdescription(description)


def run(*arguments: str | Path) -> Result:
    done = subprocess.run(
        [sys.executable, "-m", "qmig", *map(str, arguments)],
        cwd=ROOT, capture_output=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    return Result(done.returncode, done.stdout.decode(), done.stderr.decode())


def listing(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def is_one_harmless_line(text: str) -> bool:
    return text.endswith("\n") and text[:-1].isprintable()


@pytest.mark.parametrize("names", [*((one,) for one in NAMES.values()), ALIKE], ids=repr)
def test_blocks_stay_in_their_folder(names: tuple[bytes, ...], tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    source = inner / "stream"
    source.write_bytes(stream(names))
    before = listing(tmp_path)
    result = run("extract", source, "-o", inner / "out")
    assert result.code == 0, result.err
    assert all(line.isprintable() for line in result.out.splitlines())
    after = listing(tmp_path)
    new = {name for name in after if name not in before}
    assert {name: after[name] for name in before} == before
    manifest = json.loads((inner / "out" / "manifest.json").read_text())
    files = [entry["file"] for entry in manifest["files"]]
    assert len(set(files)) == len(names)
    assert new == {"a/b/out", "a/b/out/manifest.json", *(f"a/b/out/{name}" for name in files)}
    for name in files:
        assert after[f"a/b/out/{name}"] == PAGE + bytes(4096)


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
@pytest.mark.parametrize("kind", FORMATS[1:])
def test_images_of_blocks_with_such_names(kind: str, name: bytes, tmp_path: Path) -> None:
    """No layout is known of them, and the error has the name in it."""
    source = tmp_path / "stream"
    source.write_bytes(stream((name,)))
    before = listing(tmp_path)
    result = run("extract", source, "--format", kind, "-o", tmp_path / "out")
    assert result.code == 2
    assert is_one_harmless_line(result.err)
    assert listing(tmp_path) == before


def described(**device: Any) -> bytes:  # noqa: ANN401  # as wrong as wanted
    head = {"name": "dev", "instance_id": 0, "vmsd_name": "dev", "version": 1}
    return vmdesc.text({"page_size": 4096, "devices": [{**head, **device}]}).encode()


def nested(levels: int) -> bytes:
    inner = b'{"name":"x","type":"struct","size":4,"struct":{"vmsd_name":"x","fields":['
    head = b'{"page_size":4096,"devices":[{"name":"dev","instance_id":0,"fields":['
    return head + inner * levels + b"]}}" * levels + b"]}]}"


VALUE: Final = vmdesc.field("value", "uint32", 4)
LIES: Final = {
    "longer than the section": described(fields=[vmdesc.field("value", "buffer", 1 << 20)]),
    "longer than all": described(fields=[vmdesc.field("value", "buffer", 1 << 62)]),
    "shorter": described(fields=[vmdesc.field("value", "uint8", 1)]),
    "below nothing": described(fields=[vmdesc.field("value", "buffer", -4)]),
    "an array without end": described(
        fields=[vmdesc.field("value", "uint32", 4, array_len=1 << 40)]
    ),
    "an array of nothing": described(fields=[vmdesc.field("value", "uint8", 0, array_len=1 << 40)]),
    "no number": described(fields=[{"name": "value", "type": "uint32", "size": "4"}]),
    "a subsection that is not there": described(
        fields=[VALUE], subsections=[{"vmsd_name": "dev/sub", "version": 1, "fields": [VALUE]}]
    ),
    "an old-style size": described(size=1 << 40, fields=[]),
    "a struct in itself": nested(50),
    "a thousand levels": nested(1000),
    "a hundred thousand levels": nested(100_000),
    "brackets without end": b'{"devices":' + b"[" * 1_000_000,
    "no device": b'{"page_size": 4096, "devices": []}',
    "another page size": described(fields=[VALUE]).replace(b"4096", b"65536"),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_descriptions_that_lie(lie: bytes, tmp_path: Path) -> None:
    source = tmp_path / "stream"
    source.write_bytes(stream((b"pc.ram",), lie))
    before = listing(tmp_path)
    shown = run("devices", source)
    assert shown.code in (0, 1, 3)
    assert all(line.isprintable() for line in (shown.out + shown.err).splitlines())
    if shown.code == 1:
        assert "0x" in shown.err, "the offset of what is wrong"
    assert listing(tmp_path) == before
    taken = run("extract", source, "-o", tmp_path / "out")
    new = {name for name in listing(tmp_path) if name not in before}
    if taken.code:
        assert is_one_harmless_line(taken.err)
        assert new == set()
    else:
        assert new == {"out", "out/manifest.json", "out/00-pc.ram.raw"}
        assert (tmp_path / "out" / "00-pc.ram.raw").read_bytes() == PAGE + bytes(4096)


def test_some_of_the_lies_are_told_of(tmp_path: Path) -> None:
    """Otherwise the test above would let anything pass."""
    source = tmp_path / "stream"
    codes = {}
    for name, lie in LIES.items():
        source.write_bytes(stream((b"pc.ram",), lie))
        codes[name] = run("devices", source).code
    told = {name for name, code in codes.items() if code == 1}
    assert told >= {"longer than the section", "longer than all", "shorter", "below nothing"}, codes


def test_same_name_twice_gives_no_block_the_memory_of_another(tmp_path: Path) -> None:
    source = tmp_path / "stream"
    source.write_bytes(stream((b"pc.ram", b"pc.ram")))
    before = listing(tmp_path)
    result = run("extract", source, "-o", tmp_path / "out")
    assert result.code in (1, 3)
    assert is_one_harmless_line(result.err)
    assert "0x" in result.err
    assert listing(tmp_path) == before
