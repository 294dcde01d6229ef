"""A small guest made by hand: some pages sent, some zero, some never sent."""

from tests.builders import ram
from tests.builders.machine import MainStream

SIZE = 4096
PAGES = 64
BLOCK = "s390.ram"  # which begins at guest-physical address 0
NEVER_SENT = (3, 4, 20)
WORD = b"Linux version 99.9.9 on page "  # what Volatility takes for the banner of a kernel


def content(page: int) -> bytes:
    return (WORD + b"%d" % page).ljust(SIZE - 1, b"\0") + bytes([page])


def sent(page: int) -> bool:
    return page not in NEVER_SENT


def page_content(page: int) -> bytes:
    return content(page) if page % 2 else bytes(SIZE)


def stream() -> bytes:
    """Return an ordinary stream of the guest: odd pages have content, even ones are zero."""
    made = MainStream("10.0", "s390-ccw-virtio-10.0")
    made.ram_start(ram.block_list([ram.BlockEntry(BLOCK, PAGES * SIZE)]))
    records = b"".join(
        ram.page(page * SIZE, content(page), BLOCK) if page % 2 else ram.zero(page * SIZE, BLOCK)
        for page in range(PAGES)
        if sent(page)
    )
    made.ram_part(records)
    made.ram_end()
    made.standard_devices()
    return made.finish()
