"""Any capture in any format: RAM and devices are the source's, by qmig and by the oracle."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

import qmig
from qmig.api import multifd_compression
from qmig.guest_source import dumped_source
from qmig.migrate.generations import GENERATIONS, Generation
from qmig.migrate.migrator import MigrationOptions
from qmig.saving import OutputFormat, SaveOptions, save_guest
from tests.checks.sound import require_not_called_wrong
from tests.conftest import CaptureFiles
from tests.corpus import FIXTURES
from tests.migrate.saved import devices, page_size, ram_by_oracle, ram_by_qmig, release

# One of each kind of source that differs in how its RAM is read.
SOURCES: Final = (
    "qemu-5.2-live",
    "qemu-7.2-compress-xbzrle",
    "qemu-10.0-mapped-multifd-live",
    "qemu-11.1-multifd-zstd",
    "qemu-10.0-postcopy-huge",
    "qemu-10.0-alpha-page-size-field",
    "qemu-10.0-s390x-stopped",
    "libvirt-12-sparse-running",
)
SETS: Final = [
    name
    for name, fixture in FIXTURES.items()
    if fixture.origin == "qemu" and any(file.role == "channel" for file in fixture.files)
]
XML: Final = b"<domain type='qemu'><name>guest</name></domain>"


@dataclass(frozen=True)
class Target:
    """A format to write, by the arguments of `qmig.save`."""

    arguments: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return "-".join(str(value) for value in self.arguments.values())

    @property
    def channels(self) -> int:
        """Files beside the main stream."""
        return self.arguments["channels"] if self.arguments["format"] == "multifd" else 0


def targets() -> list[Target]:
    found: list[dict[str, Any]] = [
        {"format": "mapped-ram"},
        {"format": "mapped-ram", "channels": 3, "direct_io": True},
        {"format": "stream"},
        {"format": "stream", "compress": True},
        {"format": "mapped-ram", "libvirt": "sparse"},
    ]
    found += [
        {"format": "stream", "libvirt": kind}
        for kind in ("raw", "gzip", "bzip2", "xz", "lzop", "zstd")
    ]
    for generation in GENERATIONS:
        for compression in ("none", "zlib", "zstd") if generation.compression else ("none",):
            first = "{}.{}".format(*generation.first)
            found.append(
                {
                    "format": "multifd",
                    "channels": 3,
                    "generation": first,
                    "compression": compression,
                }
            )
    found.append({"format": "multifd", "channels": 2, "flush_after_each_section": True})
    return [Target(arguments) for arguments in found]


@pytest.mark.parametrize("target", targets(), ids=str)
@pytest.mark.parametrize("name", SOURCES)
def test_conversion(name: str, target: Target, capture_files: CaptureFiles, tmp_path: Path) -> None:
    paths = capture_files(name)
    out = tmp_path / "out"
    arguments = dict(target.arguments)
    if "libvirt" in arguments and FIXTURES[name].origin != "libvirt":
        arguments["libvirt_xml"] = XML
    counters = qmig.save(paths, out, **arguments)
    written = [out, *(tmp_path / f"out.ch{channel}" for channel in range(target.channels))]
    assert sorted(tmp_path.iterdir()) == sorted(written)

    size = page_size(FIXTURES[name])
    expected = ram_by_qmig(paths)
    assert ram_by_qmig(written) == expected
    assert ram_by_oracle(written, size) == expected
    # No release that knows these machines sends 9.2's SYNC at the end, which is told.
    odd = ["QM342"] if arguments.get("generation") == "9.2" else []
    require_not_called_wrong(written, ignore=odd)
    with qmig.open_capture(*paths) as source, qmig.open_capture(*written) as saved:
        assert saved.errors == []
        missing = sum(view.missing_pages() for view in source.ram.values())
        pages = sum(block.used_length for block in saved.blocks) // size - missing
        assert saved.stream.configuration is not None
        assert source.stream.configuration is not None
        assert saved.stream.configuration.machine == source.stream.configuration.machine
        if target.arguments["format"] != "mapped-ram":
            found = [saved.statistics.block(block.index) for block in saved.blocks]
            assert sum(block.seen_pages for block in found) == pages
            assert sum(sum(block.pages.values()) for block in found) == pages, "each page once"
    assert counters.normal + counters.duplicate + counters.compressed_pages == pages
    if "postcopy" in name:  # its devices are in a package, with sections of its own around them
        assert {row[:3] for row in devices(out, size)} == sections_by_qmig(paths)
    else:
        assert devices(out, size) == devices(paths[0], size)


def sections_by_qmig(paths: list[Path]) -> set[tuple[bytes, int, int]]:
    """Return name, instance and version of all sections but those of RAM."""
    with qmig.open_capture(*paths) as capture:
        return {
            (row.idstr.encode(), row.instance_id, row.version_id)
            for row in capture.stream.sections.rows
            if row.idstr != "ram"
        }


@pytest.mark.parametrize("name", SETS)
def test_set_of_a_generation_can_be_of_its_release(
    name: str, capture_files: CaptureFiles, tmp_path: Path
) -> None:
    """What is written in the generation of the source's release is not held for another's."""
    generation = release(FIXTURES[name])
    out = tmp_path / "out"
    qmig.save(capture_files(name), out, format="multifd", channels=2, generation=generation)
    with qmig.open_capture(out, tmp_path / "out.ch0", tmp_path / "out.ch1") as saved:
        assert generation in saved.releases, saved.evidence


@pytest.mark.parametrize("generation", GENERATIONS, ids=lambda generation: generation.name)
@pytest.mark.parametrize("compression", ["none", "zlib", "zstd"])
def test_bare_set_shows_its_generation(
    generation: Generation, compression: str, tmp_path: Path
) -> None:
    """Where nothing else tells, the packets and syncs leave the releases of the generation."""
    first = "{}.{}".format(*generation.first)
    dump = tmp_path / "dump"
    dump.write_bytes(b"".join(bytes([page]) * 4096 for page in range(200)))
    options = SaveOptions(
        OutputFormat.MULTIFD,
        channels=2,
        generation=first,
        compression=multifd_compression(compression),
        migration=MigrationOptions(static=True),
    )
    out = tmp_path / "out"
    with dumped_source({"pc.ram": dump}) as source:
        if compression != "none" and not generation.compression:
            with pytest.raises(qmig.WriterError, match="compression"):
                save_guest(source.guest, source.skeleton, out, options)
            return
        save_guest(source.guest, source.skeleton, out, options)
    with qmig.open_capture(out, tmp_path / "out.ch0", tmp_path / "out.ch1") as saved:
        assert first in saved.releases
        assert saved.ram["pc.ram"].read(0, 200 * 4096) == dump.read_bytes()
