"""What a save is made of: a guest, what stands around its RAM, and what its source said besides.

It joins `qmig.conversion` and the guests of `qmig.migrate` to the sources that a user can name.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from qmig.errors import WriterError
from qmig.migrate.dumps import DumpGuest
from qmig.migrate.skeleton import Skeleton
from qmig.saving import LibvirtOptions

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping

    from qmig.capture.capture import Capture
    from qmig.memory import RunningGuest
    from qmig.migrate.synthetic import Workload
    from qmig.migrate.synthetic_content import Shares
    from qmig.wire.libvirt import QemuSaveFormat

_DEFAULT_PAGE_LEN: Final = 4096
_RAM_ALONE: Final = "RAM alone: no device state"
_NO_MACHINE: Final = (
    "no configuration either: QEMU loads it with -global migration.send-configuration=off"
)


@dataclass
class GuestSource:
    """A guest that can be saved.

    Attributes:
        kind: capture, dumps or synthetic.
        guest: whose memory goes.
        skeleton: what stands around it.
        static: whether it stands still.
        was_running: whether it ran when it was saved, as far as the source tells.
        xml: of the libvirt image that it comes from; None: it comes from none.
        cookie: of that image.
        remarks: what the user should know of it.
    """

    kind: str
    guest: RunningGuest
    skeleton: Skeleton
    static: bool = True
    was_running: bool = False
    xml: bytes | None = None
    cookie: bytes | None = None
    remarks: list[str] = field(default_factory=list)


@contextmanager
def captured_source(
    capture: Capture, dumps: Mapping[str, str | os.PathLike[str]] | None = None
) -> Iterator[GuestSource]:
    """Give the guest of a capture.

    Args:
        capture: a whole one; it stays open.
        dumps: block name -> raw dump that stands for the block's memory in the capture.

    Raises:
        StreamError: the capture is damaged.
        SourceError: it has no main stream, or a dump cannot be opened; or its RAM went over
            multifd channels that it was opened without, and no dumps are given.
        WriterError: it has no such block, or a dump's length is not the block's.
    """
    from qmig.conversion import skeleton_of
    from qmig.migrate.captured import CapturedGuest

    capture.keep_items = True
    skeleton = skeleton_of(capture)
    guest = CapturedGuest(capture.ram)
    source = GuestSource("capture", guest, skeleton)
    image = capture.main.libvirt if capture.main is not None else None
    if image is None:
        source.was_running = capture.survey.run_state == "running"
    else:
        source.was_running = bool(image.header.was_running)
        source.xml, source.cookie = image.xml, image.cookie
    if not dumps:
        source.remarks += _missing(capture)
        yield source
        return
    from qmig.migrate.overlaid import OverlaidGuest

    with OverlaidGuest(guest, dumps) as overlaid:
        source.guest = overlaid
        kept = [block.name for block in overlaid.blocks if block.name not in dumps]
        if kept:
            names = ", ".join(map(repr, kept))
            source.remarks.append(f"RAM that no dump gives is that of {skeleton.origin}: {names}")
        yield source


@contextmanager
def dumped_source(
    dumps: Mapping[str, str | os.PathLike[str]],
    page_size_len: int | None = None,
    *,
    machine: str | None = None,
) -> Iterator[GuestSource]:
    """Give a guest of raw dumps alone.

    Args:
        dumps: block name -> file, in the order of the block list.
        page_size_len: bytes of a target page; None: 4096.
        machine: machine type for the configuration section; None: there is none.

    Raises:
        SourceError: a file cannot be opened.
        WriterError: its length is no multiple of the page.
    """
    with DumpGuest(dumps, page_size_len or _DEFAULT_PAGE_LEN) as guest:
        yield GuestSource("dumps", guest, Skeleton(machine=machine), remarks=[_alone(machine)])


@contextmanager
def synthetic_source(
    seed: int,
    size_len: int,
    *,
    shares: Shares,
    workload: Workload,
    page_size_len: int | None = None,
    machine: str | None = None,
) -> Iterator[GuestSource]:
    """Give the built-in guest, running if its workload does anything; it is stopped at the end.

    Raises:
        WriterError: its size, shares or rate make no sense.
    """
    from qmig.migrate.synthetic import SyntheticGuest

    guest = SyntheticGuest(
        seed,
        size_len,
        shares=shares,
        workload=workload,
        page_size_len=page_size_len or _DEFAULT_PAGE_LEN,
    )
    runs = workload.dirty_pages_per_s > 0
    skeleton = Skeleton(machine=machine)
    source = GuestSource("synthetic", guest, skeleton, static=not runs, remarks=[_alone(machine)])
    try:
        if runs:
            guest.start()
        yield source
    finally:
        guest.stop()


def _alone(machine: str | None) -> str:
    return _RAM_ALONE if machine else f"{_RAM_ALONE}, and {_NO_MACHINE}"


def libvirt_options(
    source: GuestSource,
    save_format: QemuSaveFormat,
    *,
    xml: bytes | None = None,
    cookie: bytes | None = None,
) -> LibvirtOptions:
    """Return what a libvirt image is to hold: XML and cookie as given, else those of the source.

    Raises:
        WriterError: there is no XML.
    """
    xml = source.xml if xml is None else xml
    if xml is None:
        raise WriterError(
            "a libvirt image needs the domain's XML, and the source has none; give --libvirt-xml"
        )
    return LibvirtOptions(
        xml,
        cookie=source.cookie if cookie is None else cookie,
        was_running=source.was_running,
        save_format=save_format,
    )


def _missing(capture: Capture) -> list[str]:
    missing = {name: view.missing_pages() for name, view in capture.ram.items()}
    if any(missing.values()) or capture.channel_files:
        from qmig.capture.channel_set import channels_not_given

        error = channels_not_given(capture)
        if error is not None:
            raise error
    return [
        f"{pages} pages of RAM block {name!r} are not in {capture.files[0].path}, nor in the output"
        for name, pages in missing.items()
        if pages
    ]
