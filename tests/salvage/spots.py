"""Bytes of a stream without which nothing of its guest is lost."""

from tests.oracle import FULL, START, MainWalk

FOOTER_LEN = 5
SPOTS = (
    "type of the configuration",
    "id in the header of ram",
    "id in the footer of ram's START",
    "mark of a device's footer",
    "id in a device's footer",
    "id in a device's header",
)


def spots(data: bytes, page_size: int) -> dict[str, int]:
    """Return where each of `SPOTS` is in a stream, by the independent reader."""
    found = MainWalk(data, page_size).walk().sections
    (ram,) = (section for section in found if section.kind == START and section.idstr == b"ram")
    devices = [section for section in found if section.kind == FULL]
    device = devices[len(devices) // 2]
    places = (
        8,  # behind magic and version
        ram.offset + 3,
        ram.end - 2,
        device.end - FOOTER_LEN,
        device.end - 1,
        device.offset + 4,
    )
    return dict(zip(SPOTS, places, strict=True))
