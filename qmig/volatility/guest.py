"""A guest as Volatility wants it: its physical memory, and the page tables of a CPU.

Volatility copies its layers and sends them to other processes. Guests that were opened are kept
here, so that a copy finds the one that is there and nothing is indexed again.
"""

from __future__ import annotations

import weakref
from contextlib import ExitStack
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Final, NamedTuple

from qmig.capture.capture import open_capture
from qmig.capture.container import Role, open_container
from qmig.capture.requirements import uses_multifd
from qmig.devices.cpu_facts import facts_of
from qmig.devices.devices import open_devices
from qmig.errors import SourceError, WriterError
from qmig.export.layout import Given
from qmig.export.machine_layout import guest_layout
from qmig.export.page_tables import Paging, paging_of, root_addr_of
from qmig.export.physical import PhysicalMemory

if TYPE_CHECKING:
    from collections.abc import Callable

    from qmig.capture.capture import Capture
    from qmig.capture.container import Container
    from qmig.devices.devices import Devices

    Progress = Callable[[float, str], None]


@dataclass(frozen=True, slots=True)
class GuestRequest:
    """What a guest is opened from.

    Attributes:
        files: the file with the main stream, then other connections of its migration.
        page_size_len: the target page size, where the stream does not tell it.
        offset: where the stream begins in its file, where that is not byte 0.
        below_4g_len: bytes of RAM below 4 GiB, on x86 machines that do not tell it.
    """

    files: tuple[str, ...]
    page_size_len: int | None = None
    offset: int | None = None
    below_4g_len: int | None = None


class PageTables(NamedTuple):
    """The page tables that a CPU ran with.

    Attributes:
        cpu_index: which CPU.
        root_addr: guest-physical address of the root, from its CR3.
        paging: how they are laid out.
    """

    cpu_index: int
    root_addr: int
    paging: Paging


class Guest:
    """An open capture as one guest.

    Attributes:
        request: what it was opened from.
        memory: by guest-physical address.
        page_tables: of the first CPU in ring 0, else of the first one; None where no x86 CPU has
            paging on.
    """

    def __init__(self, request: GuestRequest, capture: Capture) -> None:
        self.request = request
        ram = capture.ram
        try:
            layout = guest_layout(capture, Given(request.below_4g_len))
        except WriterError:
            for error in capture.errors:  # devices that were lost would have told
                raise error from None
            raise
        self.memory = PhysicalMemory(layout, ram)
        self.page_tables = find_page_tables(open_devices(capture))
        weakref.finalize(self, capture.close)

    def __reduce__(self) -> tuple[Callable[..., Guest], tuple[GuestRequest]]:
        """Copy and pickle what it is opened from: files are not copied."""
        return open_guest, (self.request,)


_lock: Final = Lock()
_guests: Final[weakref.WeakValueDictionary[GuestRequest, Guest]] = weakref.WeakValueDictionary()


def is_capture(path: str, *, offset: int | None = None) -> bool:
    """Tell whether a file is a main stream, as far as it shows without being searched.

    A stream further back in a file is one only where its offset was given: an image of physical
    memory may hold the bytes that a stream begins with.

    Raises:
        StreamError: it is a capture, and what wraps it is damaged.
        SourceError: it is another connection of a migration.
    """
    try:
        container = open_container(path, offset=offset)
    except SourceError:
        return False
    container.close()
    if container.role is Role.CHANNEL:
        raise SourceError(
            "is a multifd channel",
            path=path,
            hint="give the main stream with -f, and this one with --qmig-channels",
        )
    searched = any(span.record == "bytes before the stream" for span in container.spans)
    return container.role is Role.MAIN and not searched


def open_guest(request: GuestRequest, progress: Progress | None = None) -> Guest:
    """Return the guest of a capture; it is opened once, and closed when nothing uses it.

    Args:
        request: what to open.
        progress: told now and then (percent, what is done).

    Raises:
        SourceError: a file cannot be read, or is missing.
        StreamError: the capture is damaged.
        WriterError: the guest-physical layout is not known; the text says what to give.
    """
    with _lock:
        guest = _guests.get(request)
        if guest is None:
            guest = _guests[request] = _opened(request, progress)
        return guest


def _opened(request: GuestRequest, progress: Progress | None) -> Guest:
    try:
        capture = open_capture(
            *request.files, page_size_len=request.page_size_len, offset=request.offset
        )
    except ValueError as error:
        raise SourceError(f"--qmig-page-size: {error}", path=request.files[0]) from error
    with ExitStack() as stack:
        stack.callback(capture.close)
        capture.keep_items = True
        if progress is not None:
            capture.progress = _telling(progress)
        why = None if capture.channel_files else uses_multifd(capture)
        if why is not None:
            raise SourceError(
                f"its RAM came over multifd channels ({why}), and their files are not given",
                path=request.files[0],
                hint="give them with --qmig-channels",
            )
        guest = Guest(request, capture)
        stack.pop_all()
    return guest


def _telling(progress: Progress) -> Callable[[Container, int], None]:
    def tell(container: Container, offset: int) -> None:
        end = container.source.end()
        progress(100 * offset / end if end else 0, f"Reading {container.path}")

    return tell


def find_page_tables(devices: Devices) -> PageTables | None:
    """Return the page tables of a CPU, of one in ring 0 where there is one.

    In ring 3 a CPU may run with page tables in which most of the kernel is missing.
    """
    found: list[tuple[int, PageTables]] = []
    for device in sorted(devices.named("cpu"), key=lambda one: one.instance_id):
        decoded = facts_of(device)
        if decoded is None:
            continue
        paging = paging_of(decoded[1])
        if paging is not None:
            root = root_addr_of(decoded[1], paging)
            tables = PageTables(device.instance_id, root, paging)
            found.append((int(decoded[1]["cpl"]), tables))
    return min(found, key=lambda each: each[0] != 0)[1] if found else None
