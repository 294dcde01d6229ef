"""What a recipe claims about its capture, each claim as a test of the capture itself.

Without these a recording that lost its purpose (a live one without rounds, an XBZRLE one without
deltas) would still be read without error and prove nothing.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from qmig.capture.container import Role
from qmig.memory import PageKind, RamBlock
from qmig.wire.mapped_ram import MAPPED_RAM_FILE_OFFSET_ALIGNMENT
from qmig.wire.multifd_flags import MultifdCompression
from tests.interop.judge import Seen

Claim = Callable[[Seen], bool]

_MAPPED_PART_WORDS: Final = 2  # a live mapped-ram save has no more to show of its rounds


def _is_mapped(seen: Seen) -> bool:
    return any(block.mapped for block in seen.capture.blocks)


def _bit(seen: Seen, block: RamBlock, page: int) -> bool:
    assert block.mapped is not None
    main = seen.capture.main
    assert main is not None
    byte = main.source.read_at(block.mapped.header.bitmap_offset + page // 8, 1)[0]
    return bool(byte >> page % 8 & 1)


def _has_data_under_clear_bit(seen: Seen) -> bool:
    main = seen.capture.main
    assert main is not None
    size = seen.page_size_len
    for block in seen.capture.blocks:
        if block.mapped is None:
            continue
        start = block.mapped.header.pages_offset
        for page in range(block.pages(size)):
            if any(main.source.read_at(start + page * size, size)) and not _bit(seen, block, page):
                return True
    return False


def _is_offset(seen: Seen) -> bool:
    """Tell whether the stream begins inside its file."""
    return seen.capture.main is not None and seen.capture.main.stream_offset > 0


def _bits(seen: Seen) -> set[bool]:
    """Return which values the bitmaps of a mapped-ram file have."""
    size = seen.page_size_len
    return {
        _bit(seen, block, page)
        for block in seen.capture.blocks
        if block.mapped
        for page in range(block.pages(size))
    }


def _has_pages(seen: Seen) -> bool:
    return True in _bits(seen) if _is_mapped(seen) else seen.kinds[PageKind.PLAIN] > 0


def _has_zero_pages(seen: Seen) -> bool:
    return False in _bits(seen) if _is_mapped(seen) else seen.kinds[PageKind.ZERO] > 0


def _has_zero_pages_as_pages(seen: Seen) -> bool:
    if _is_mapped(seen):
        return _bits(seen) == {True}
    zeros = [page for page in seen.with_payload if seen.is_finally_zero(*page)]
    return not seen.kinds[PageKind.ZERO] and bool(zeros)


def _had_rounds(seen: Seen) -> bool:
    if _is_mapped(seen):
        return seen.capture.stream.counters.ram_parts >= _MAPPED_PART_WORDS
    return bool(seen.resent)


def _has_page_that_became_zero(seen: Seen) -> bool:
    if _is_mapped(seen):
        return _has_data_under_clear_bit(seen)
    return any(seen.is_finally_zero(*page) for page in seen.resent & seen.with_payload)


def _compressions(seen: Seen) -> set[int]:
    return set().union(*(channel.walk.counters.methods for channel in seen.capture.channels))


def _zero_pages_on_main(legacy: bool) -> Claim:
    """Claim zero pages, and where there are channels, which connection they came over."""

    def holds(seen: Seen) -> bool:
        channels = seen.capture.channels
        in_packets = any(channel.walk.counters.zero_pages for channel in channels)
        return seen.kinds[PageKind.ZERO] > 0 and (not channels or in_packets is not legacy)

    return holds


def _multifd(method: MultifdCompression) -> Claim:
    def holds(seen: Seen) -> bool:
        channels = seen.capture.channels
        asked = seen.fixture.parameters["multifd-channels"]
        return len(channels) == asked and _compressions(seen) == {method}

    return holds


def _syncs_at_each_section(seen: Seen) -> bool:
    counters = seen.capture.stream.counters
    syncs = {channel.walk.counters.syncs for channel in seen.capture.channels}
    return counters.flush_words == 0 and syncs == {counters.eos_words}


def _capabilities(*names: str) -> Claim:
    def holds(seen: Seen) -> bool:
        configuration = seen.capture.stream.configuration
        return configuration is not None and configuration.capabilities == names

    return holds


def _page_size(length: int) -> Claim:
    return lambda seen: seen.page_size_len == length


def _page_kind(kind: PageKind) -> Claim:
    return lambda seen: seen.kinds[kind] > 0


def _command(name: str) -> Claim:
    return lambda seen: name in seen.commands()


def _section(name: str) -> Claim:
    return lambda seen: any(name in idstr for idstr in seen.section_names())


def _machine(part: str) -> Claim:
    def holds(seen: Seen) -> bool:
        configuration = seen.capture.stream.configuration
        return configuration is not None and part in configuration.machine

    return holds


def _layers(*names: str) -> Claim:
    return lambda seen: seen.capture.main is not None and seen.capture.main.layers == [*names]


def _libvirt(name: str) -> Claim:
    def holds(seen: Seen) -> bool:
        main = seen.capture.main
        image = main.libvirt if main else None
        return image is not None and not image.partial and image.format_name == name

    return holds


def _was_running(seen: Seen) -> bool:
    image = seen.capture.main.libvirt if seen.capture.main else None
    return image is not None and image.header.was_running == 1


def _block_len(name: str, length: int) -> Claim:
    return lambda seen: (
        (name, length) in {(block.name, block.used_length) for block in seen.capture.blocks}
    )


def _never_sent(seen: Seen) -> bool:
    """Tell whether a whole block that the list names has no page."""
    sent = {block for block, _ in seen.sent}
    return any(block.index not in sent for block in seen.capture.blocks if not block.mapped)


def _ignored_mapped(seen: Seen) -> bool:
    """Tell whether one block has pages in the file and another has none."""
    return {block.mapped is None for block in seen.capture.blocks} == {True, False}


def _aligned_pages(seen: Seen) -> bool:
    offsets = [b.mapped.header.pages_offset for b in seen.capture.blocks if b.mapped]
    return bool(offsets) and not any(at % MAPPED_RAM_FILE_OFFSET_ALIGNMENT for at in offsets)


def _advised(seen: Seen) -> bool:
    details = [c.detail for c in seen.capture.stream.commands if c.name == "POSTCOPY_ADVISE"]
    return len(details) == 1 and details[0]["target_page_size"] == seen.page_size_len


def _advised_without_sizes(seen: Seen) -> bool:
    commands = [c for c in seen.capture.stream.commands if c.name == "POSTCOPY_ADVISE"]
    return len(commands) == 1 and "target_page_size" not in commands[0].detail


def _uuid(seen: Seen) -> bool:
    configuration = seen.capture.stream.configuration
    command = seen.fixture.command
    asked = command[command.index("-uuid") + 1]
    return configuration is not None and str(configuration.uuid) == asked


def _target_page_bits(seen: Seen) -> bool:
    configuration = seen.capture.stream.configuration
    bits = configuration.target_page_bits if configuration else None
    return bits is not None and 1 << bits == seen.page_size_len


def _is_older_than_its_qemu(seen: Seen) -> bool:
    """Tell whether the machine type is not the release's own."""
    command = seen.fixture.command
    machine = command[command.index("-machine") + 1].partition(",")[0]
    configuration = seen.capture.stream.configuration
    return configuration is None or configuration.machine == machine


def _has_role(role: Role) -> Claim:
    return lambda seen: any(container.role is role for container in seen.capture.files)


def _background_snapshot(seen: Seen) -> bool:
    ram = {row.word for row in seen.capture.stream.sections.rows if row.idstr == "ram"}
    return "START" in ram and "END" not in ram


def _file_is(suffix: bytes) -> Claim:
    def holds(seen: Seen) -> bool:
        main = seen.capture.main
        return main is not None and Path(main.path).read_bytes().startswith(suffix)

    return holds


def _both(*claims: Claim) -> Claim:
    return lambda seen: all(claim(seen) for claim in claims)


def _plain_only(seen: Seen) -> bool:
    return not _is_mapped(seen) and not seen.capture.channels


_PACKERS: Final = {
    "gzip": b"\x1f\x8b",
    "bzip2": b"BZh",
    "xz": b"\xfd7zXZ",
    "zstd": b"\x28\xb5/\xfd",
}
_TARGETS: Final = {
    "aarch64": "virt",
    "alpha": "clipper",
    "arm": "microbit",
    "avr": "mega-2560",
    "m68k": "virt",
    "or1k": "or1k-sim",
    "ppc64": "pseries",
    "riscv64": "virt",
    "s390x": "s390-ccw-virtio",
    "sparc64": "sun4u",
    "tricore": "tricore_testboard",
}

CLAIMS: Final[dict[str, Claim]] = {
    "command:advise-empty": _advised_without_sizes,
    "command:enable-colo": _command("ENABLE_COLO"),
    "command:ping": _command("PING"),
    "command:postcopy-advise": _advised,
    "command:return-path": _command("OPEN_RETURN_PATH"),
    "configuration:capabilities": _capabilities("x-ignore-shared"),
    "configuration:two-capabilities": _capabilities("x-ignore-shared", "mapped-ram"),
    "configuration:target-page-bits": _target_page_bits,
    "configuration:uuid": _uuid,
    **{
        f"container:{name}": _both(_layers(name), _file_is(magic))
        for name, magic in _PACKERS.items()
    },
    "container:file-offset": _is_offset,
    **{
        f"container:libvirt-{name}": _libvirt(name)
        for name in ("raw", "gzip", "bzip2", "xz", "lzop", "zstd", "sparse")
    },
    "container:libvirt-was-running": _was_running,
    "device:s390-skeys": _section("s390-skeys"),
    "devices:early-state": _section("virtio-mem-device-early"),
    "devices:rich": lambda seen: len(seen.capture.stream.sections.rows) >= 20,
    "devices:slirp": _section("slirp"),
    "devices:virtio": _section("virtio-"),
    "framing:no-configuration": lambda seen: seen.capture.stream.configuration is None,
    "framing:no-footers": lambda seen: seen.capture.stream.footers is False,
    "framing:no-vmdesc": lambda seen: seen.capture.stream.vmdescription is None,
    "live-handler:s390-storage-attributes": _section("s390-storage_attributes"),
    "live-handler:spapr-htab": _section("spapr/htab"),
    "live:dirty-bitmap": _section("dirty-bitmap"),
    "machine:isapc": _machine("isapc"),
    "machine:microvm": _machine("microvm"),
    "machine:older-than-qemu": _is_older_than_its_qemu,
    "machine:q35": _machine("q35"),
    "mapped-ram:data-under-clear-bit": _has_data_under_clear_bit,
    "mapped-ram:direct-io": _aligned_pages,
    "mapped-ram:ignored-block": _ignored_mapped,
    "mapped-ram:multifd": lambda seen: _is_mapped(seen) and not seen.capture.channels,
    "mapped-ram:plain": _both(_is_mapped, _aligned_pages),
    "memory:hotplugged-dimm": _block_len("dimm0", 4 << 20),
    "memory:named-backend": _block_len("guest-memory", 4 << 20),
    "memory:numa": _both(_block_len("node0", 4 << 20), _block_len("node1", 4 << 20)),
    "memory:other-size": _block_len("pc.ram", 8 << 20),
    "memory:virtio-mem": _block_len("0000:00:02.0/plugged0", 16 << 20),
    "multifd:flush-after-each-section": _syncs_at_each_section,
    "multifd:one-channel": lambda seen: len(seen.capture.channels) == 1,
    "multifd:four-channels": lambda seen: len(seen.capture.channels) == 4,
    "multifd:none": _multifd(MultifdCompression.NOCOMP),
    "multifd:zlib": _multifd(MultifdCompression.ZLIB),
    "multifd:zstd": _multifd(MultifdCompression.ZSTD),
    **{f"page-size:{size}": _page_size(size) for size in (256, 1024, 8192, 16384)},
    "postcopy:multifd": lambda seen: bool(seen.capture.channels),
    "postcopy:preempt": _has_role(Role.PREEMPT),
    "postcopy:recovery": _has_role(Role.RECOVERY),
    "postcopy:switch": _both(_command("POSTCOPY_LISTEN"), _command("POSTCOPY_RUN")),
    "ram:background-snapshot": _background_snapshot,
    "ram:block-addresses": lambda seen: all(b.addr is not None for b in seen.capture.blocks),
    "ram:compress": _page_kind(PageKind.COMPRESSED),
    "ram:ignored-block": _never_sent,
    "ram:multifd-flush": lambda seen: seen.capture.stream.counters.flush_words > 0,
    "ram:never-sent": _never_sent,
    "ram:ordinary": _plain_only,
    "ram:page": _has_pages,
    "ram:page-became-zero": _has_page_that_became_zero,
    "ram:page-size-field": lambda seen: any(b.page_size for b in seen.capture.blocks),
    "ram:rounds": _had_rounds,
    "ram:xbzrle": _page_kind(PageKind.XBZRLE),
    "ram:zero": _has_zero_pages,
    **{f"target:{target}": _machine(machine) for target, machine in _TARGETS.items()},
    "transport:file": _layers(),
    "zero-page-detection:legacy": _zero_pages_on_main(True),
    "zero-page-detection:multifd": _zero_pages_on_main(False),
    "zero-page-detection:none": _has_zero_pages_as_pages,
}
"""Each `covers` word of a recipe -> whether a capture has it."""


def unmet_claims(seen: Seen) -> list[str]:
    """Return the claims of a capture's entry that the capture does not bear out."""
    return [word for word in seen.fixture.covers if not CLAIMS[word](seen)]
