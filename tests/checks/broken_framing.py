"""Streams that break one rule of QM00x to QM02x each, built by hand."""

from collections.abc import Mapping
from typing import Any, Final

from tests.builders import framing, ram, vmdesc
from tests.builders.machine import MainStream
from tests.checks.example import Broken, Example, Files, alone

MACHINE: Final = "none"
BLOCK: Final = "ram"
_PAGES: Final = 1024
_PAGE_LEN: Final = 4096


def stream(release: str = "10.0", **changes: Any) -> MainStream:  # noqa: ANN401  # MainStream's
    """Begin a stream whose RAM is sent."""
    main = MainStream(release, MACHINE, **changes)
    send_ram(main)
    return main


def send_ram(main: MainStream) -> None:
    """Send the block list and all pages."""
    main.ram_start(ram.block_list([ram.BlockEntry(BLOCK, _PAGES * _PAGE_LEN)]))
    main.ram_part(pages())


def pages() -> bytes:
    """Build page records of the whole block."""
    records = [ram.page(0, b"\x5a" * _PAGE_LEN, BLOCK)]
    return b"".join([*records, *(ram.zero(at * _PAGE_LEN) for at in range(1, _PAGES))])


def ended(main: MainStream, **how: Any) -> bytes:  # noqa: ANN401  # those of `finish`
    """End a stream as QEMU does."""
    main.switchover()
    main.ram_end()
    main.standard_devices()
    return main.finish(**how)


def sound() -> Files:
    """Build a stream with nothing wrong."""
    return alone(ended(stream()))


def patched(data: bytes, at: int, new: bytes) -> bytes:
    """Return data with some bytes replaced."""
    return data[:at] + new + data[at + len(new) :]


def _whole() -> bytes:
    return ended(stream())


def _magic() -> Broken:
    return Broken(alone(patched(_whole(), 0, b"QEVN")), 0)


def _version(number: int) -> Broken:
    return Broken(alone(patched(_whole(), 4, number.to_bytes(4, "big"))), 4)


def _no_configuration() -> Broken:
    head_len, configuration_len = 8, len(framing.configuration(MACHINE))
    whole = _whole()
    return Broken(alone(whole[:head_len] + whole[head_len + configuration_len :]), head_len)


def _with_subsection(subsection: bytes) -> bytes:
    return ended(stream(subsections=[subsection]))


def _subsection_offset() -> int:
    return 8 + len(framing.configuration(MACHINE))


def _page_bits() -> Broken:
    data = _with_subsection(framing.target_page_bits(20))
    return Broken(alone(data), _subsection_offset() + len(framing.target_page_bits(20)) - 4)


def _unknown_capability() -> Broken:
    data = _with_subsection(framing.capabilities(["x-nothing"]))
    return Broken(alone(data), _subsection_offset() + len(framing.capabilities([])))


def _not_mapped() -> Broken:
    main = MainStream("10.0", MACHINE, subsections=[framing.capabilities(["mapped-ram"])])
    head = framing.section_head(framing.SECTION_START, main.release.ram_id, "ram")
    at = len(main.unfinished()) + len(head)
    send_ram(main)
    return Broken(alone(ended(main)), at)


def _unknown_subsection() -> Broken:
    data = _with_subsection(framing.subsection("other/nothing", b""))
    return Broken(alone(data), _subsection_offset())


def _subsection_version() -> Broken:
    data = _with_subsection(framing.guest_uuid(bytes(range(16)), version=9))
    return Broken(alone(data), _subsection_offset())


def _element_type() -> Broken:
    main = stream()
    at = len(main.unfinished())
    main.add(b"\x09")
    return Broken(alone(ended(main)), at)


def _unknown_section() -> Broken:
    main = stream()
    at = len(main.unfinished())
    main.part(77, ram.eos())
    return Broken(alone(ended(main)), at + 1)


def _nameless_section() -> Broken:
    main = stream()
    main.switchover()
    main.ram_end()
    at = len(main.unfinished())
    main.add(framing.section_full(90, "", bytes(8)))
    main.standard_devices()
    return Broken(alone(main.finish()), at + 5)


def _handler_of_nobody() -> Broken:
    main = stream()
    at = len(main.unfinished())
    main.start(60, "nobody", bytes(8), 1)
    return Broken(alone(ended(main)), at)


def _ram_version() -> Broken:
    main = MainStream("10.0", MACHINE)
    at = len(main.unfinished())
    body = ram.block_list([ram.BlockEntry(BLOCK, _PAGES * _PAGE_LEN)])
    main.start(main.release.ram_id, "ram", body, 5)
    main.ram_part(pages())
    head = framing.section_head(framing.SECTION_START, main.release.ram_id, "ram")
    return Broken(alone(ended(main)), at + len(head) - 4)


def _devices_with(footer: bytes | None) -> tuple[bytes, int]:
    """Build a stream with a footer of the first device replaced; tell where it stands."""
    main = stream()
    main.switchover()
    main.ram_end()
    timer, state = main.standard_sections()
    own = framing.section_footer(0)
    at = len(main.unfinished()) + len(timer) - len(own)
    main.add(timer[: -len(own)] + (own if footer is None else footer))
    main.add(state)
    return main.finish(), at


def _missing_footer() -> Broken:
    data, at = _devices_with(b"")
    return Broken(alone(data), at)


def _foreign_footer() -> Broken:
    data, at = _devices_with(framing.section_footer(0x77))
    return Broken(alone(data), at)


def _cut_before_eof() -> Broken:
    main = stream()
    main.switchover()
    main.ram_end()
    main.standard_devices()
    data = main.unfinished()
    return Broken(alone(data), len(data))


def _data_behind_eof() -> Broken:
    main = stream()
    data = ended(main, describe=False)
    return Broken(alone(data + b"nothing that belongs here"), len(data))


def _undescribed() -> Files:
    return alone(ended(stream(), describe=False))


def _data_behind_description() -> Broken:
    data = _whole()
    return Broken(alone(data + b"left over"), len(data))


def _device_twice() -> Broken:
    main = stream()
    main.switchover()
    main.ram_end()
    main.standard_devices()
    at = len(main.unfinished())
    body = framing.timer_body()
    main.device(vmdesc.TIMER_DEVICE, body, section_id=0)
    return Broken(alone(main.finish()), at)


def _part_behind_end() -> Broken:
    main = stream()
    main.switchover()
    main.ram_end()
    at = len(main.unfinished())
    main.ram_part()
    main.standard_devices()
    return Broken(alone(main.finish()), at)


def _huge_name() -> Broken:
    data = patched(_whole(), 9, (1 << 30).to_bytes(4, "big"))
    return Broken(alone(data), 9)


def _stattrib() -> Broken:
    main = stream()
    at = len(main.unfinished())
    head = framing.section_head(framing.SECTION_START, 60, "s390-storage_attributes", version_id=0)
    # A word with no flag at all, and then one that ends the part.
    body = bytes(8) + (1).to_bytes(8, "big")
    main.start(60, "s390-storage_attributes", body, 0)
    return Broken(alone(ended(main)), at + len(head))


def _stattrib_sound() -> Files:
    main = stream()
    main.start(60, "s390-storage_attributes", (1).to_bytes(8, "big"), 0)
    return alone(ended(main))


def _early_eof() -> Broken:
    data = _whole()
    at = data.index(framing.section_head(framing.SECTION_FULL, 0, "timer", version_id=2))
    return Broken(alone(patched(data, at, b"\0")), at)


def _odd_name() -> Broken:
    main = stream()
    main.switchover()
    main.ram_end()
    at = len(main.unfinished())
    main.device(vmdesc.old_style_device("ti\x07mer", 2), b"ab", section_id=7)
    main.standard_devices()
    return Broken(alone(main.finish()), at)


def _machine_name(name: str) -> bytes:
    main = MainStream("10.0", name)
    send_ram(main)
    return ended(main)


EXAMPLES: Final[Mapping[str, Example]] = {
    "QM001": Example(_magic, sound),
    "QM002": Example(lambda: _version(4), sound),
    "QM003": Example(lambda: _version(2), sound),
    "QM004": Example(_no_configuration, sound),
    "QM005": Example(_page_bits, lambda: alone(_with_subsection(framing.target_page_bits(12)))),
    "QM006": Example(
        _unknown_capability, lambda: alone(_with_subsection(framing.capabilities(["xbzrle"])))
    ),
    "QM007": Example(_unknown_subsection, sound),
    "QM008": Example(
        _subsection_version, lambda: alone(_with_subsection(framing.guest_uuid(bytes(range(16)))))
    ),
    "QM009": Example(_not_mapped, sound),
    "QM010": Example(_element_type, sound),
    "QM011": Example(_unknown_section, sound),
    "QM012": Example(_odd_name, sound),
    "QM014": Example(
        lambda: Broken(alone(_machine_name("no/ne")), 9), lambda: alone(_machine_name("none"))
    ),
    "QM015": Example(_handler_of_nobody, sound),
    "QM013": Example(_nameless_section, sound),
    "QM016": Example(_ram_version, sound),
    "QM017": Example(_missing_footer, lambda: alone(_devices_with(None)[0])),
    "QM018": Example(_foreign_footer, lambda: alone(_devices_with(None)[0])),
    "QM019": Example(_cut_before_eof, sound),
    "QM020": Example(_data_behind_eof, _undescribed),
    "QM021": Example(_early_eof, sound),
    "QM022": Example(_data_behind_description, sound),
    "QM025": Example(_device_twice, sound),
    "QM026": Example(_part_behind_end, sound),
    "QM090": Example(_huge_name, sound),
    "QM099": Example(_stattrib, _stattrib_sound),
}
