"""Streams that break one rule of QM4xx each, built for the machine `none`, which can load them."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from tests.builders import framing, handlers, ram, vmdesc
from tests.builders.machine import FIRST_DEVICE_ID, TIMER_ID, MainStream
from tests.checks.broken_framing import ended, stream
from tests.checks.broken_ram import BLOCK, BLOCK_LEN, MACHINE, first_round
from tests.checks.example import Broken, Example, Files, alone

_STATE_ID: Final = FIRST_DEVICE_ID
_VERSION_LEN: Final = 4
_VMDESC_HEAD_LEN: Final = 5
_TOO_LONG: Final = 33 << 20
_TIMER_BODY: Final = framing.timer_body(cpu_ticks_offset=0x1234)
_STATE_BODY: Final = framing.globalstate_body("paused")

Description = dict[str, Any]


class Parts:
    """A stream, part by part.

    Attributes:
        bits: log2 of the page size, recorded in the configuration; None: not recorded.
        timer: body of the timer section.
        timer_version: its version.
        state: body of the globalstate section.
        more: sections behind it.
        describe: changes the description.
        description: the element that carries it, instead of that.
    """

    def __init__(self) -> None:
        self.bits: int | None = None
        self.timer = _TIMER_BODY
        self.timer_version = 2
        self.state = _STATE_BODY
        self.more = b""
        self.describe: Callable[[Description], None] = lambda _: None
        self.description: bytes | None = None

    def head(self) -> bytes:
        """Build the stream up to the device sections."""
        subsections = [] if self.bits is None else [framing.target_page_bits(self.bits)]
        main = MainStream("10.0", MACHINE, subsections=subsections)
        main.ram_start(ram.block_list([ram.BlockEntry(BLOCK, BLOCK_LEN)]))
        main.ram_part(first_round())
        main.switchover()
        main.ram_end()
        return main.unfinished()

    def sections(self) -> list[bytes]:
        """Build the device sections."""
        timer = framing.section_full(TIMER_ID, "timer", self.timer, version_id=self.timer_version)
        state = framing.section_full(_STATE_ID, "globalstate", self.state)
        return [timer, state, self.more]

    def before_description(self) -> bytes:
        """Build the stream up to the vmdescription."""
        return self.head() + b"".join(self.sections()) + framing.end_of_file()

    def build(self) -> bytes:
        """Build the whole stream."""
        main = MainStream("10.0", MACHINE)
        main.standard_sections()
        described = main.description()
        described["devices"] = [dict(device) for device in described["devices"]]
        self.describe(described)
        element = vmdesc.vmdescription(described)
        return self.before_description() + (self.description or element)

    def body_offset(self, index: int) -> int:
        """Return where the body of a section begins."""
        name = ("timer", "globalstate")[index]
        head = framing.section_head(framing.SECTION_FULL, 0, name)
        return len(self.head()) + sum(map(len, self.sections()[:index])) + len(head)


def _whole(**changes: Any) -> Parts:  # noqa: ANN401  # attributes of Parts
    parts = Parts()
    for name, value in changes.items():
        setattr(parts, name, value)
    return parts


def _sound(**changes: Any) -> Callable[[], Files]:  # noqa: ANN401  # attributes of Parts
    return lambda: alone(_whole(**changes).build())


def _text(**changes: Any) -> Broken:  # noqa: ANN401  # attributes of Parts
    """Build a stream whose description is wrong."""
    parts = _whole(**changes)
    return Broken(alone(parts.build()), len(parts.before_description()) + _VMDESC_HEAD_LEN)


def _body(index: int, at: int, **changes: Any) -> Broken:  # noqa: ANN401  # attributes of Parts
    """Build a stream with a section that is wrong `at` bytes into its body."""
    parts = _whole(**changes)
    return Broken(alone(parts.build()), parts.body_offset(index) + at)


def _cut() -> Broken:
    parts = Parts()
    return Broken(alone(parts.build()[:-10]), len(parts.before_description()) + _VMDESC_HEAD_LEN)


def _too_long() -> Broken:
    parts = _whole(description=vmdesc.vmdescription(b"{}", length=_TOO_LONG))
    return Broken(alone(parts.build()), len(parts.before_description()) + 1)


def _page_size(described: Description) -> None:
    described["page_size"] = 8192


def _more_described(described: Description) -> None:
    described["devices"].append(vmdesc.device("absent", 1, [vmdesc.field("x", "uint8", 1)]))


def _swap(described: Description) -> None:
    described["devices"].reverse()


def _odd_size(described: Description) -> None:
    state = described["devices"][1]
    first, *others = state["fields"]
    state["fields"] = [{**first, "size": 5}, *others]


def _less_described(described: Description) -> None:
    described["devices"].pop()


def _not_described() -> Broken:
    parts = _whole(describe=_less_described)
    return Broken(alone(parts.build()), len(parts.head()) + len(parts.sections()[0]))


def _subsection(name: str) -> Callable[[Description], None]:
    """Describe a subsection of the timer."""

    def describe(described: Description) -> None:
        timer = described["devices"][0]
        fields = [vmdesc.field("x", "uint8", 1)]
        timer["subsections"] = [{"vmsd_name": name, "version": 1, "fields": fields}]

    return describe


def _with_subsection(name: str, described: str) -> Parts:
    body = _TIMER_BODY + framing.subsection(name, b"\x01")
    return _whole(timer=body, describe=_subsection(described))


def _wrong_subsection(name: str, described: str) -> Broken:
    parts = _with_subsection(name, described)
    return Broken(alone(parts.build()), parts.body_offset(0) + len(_TIMER_BODY))


def _right_subsection() -> Files:
    return alone(_with_subsection("timer/more", "timer/more").build())


def _more(name: str) -> Parts:
    """Build a stream with one more section, which is described."""

    def describe(described: Description) -> None:
        described["devices"].append(vmdesc.old_style_device(name, len(_TIMER_BODY)))

    section = framing.section_full(_STATE_ID + 1, name, _TIMER_BODY)
    return _whole(more=section, describe=describe)


def _renamed() -> Broken:
    parts = Parts()
    data, head = parts.build(), framing.section_head(framing.SECTION_FULL, 0, "timer")
    at = parts.body_offset(0) - len(head)
    return Broken(alone(data[: at + 6] + b"dimmer"[:5] + data[at + 11 :]), at)


def _salvaged() -> Broken:
    parts = _more("qmig/salvaged")
    behind = len(parts.sections()[2]) + len(framing.end_of_file())
    return Broken(alone(parts.build()), len(parts.before_description()) - behind)


_BITMAP_ID: Final = 60


def _bitmaps(start: bytes, bits: bytes = b"") -> tuple[bytes, int]:
    """Build a stream with a dirty bitmap; return it, and where the section's body begins."""
    main = stream()
    begin = len(main.unfinished())
    body = start + bits + handlers.bitmap_eos()
    main.start(_BITMAP_ID, "dirty-bitmap", body, 1)
    whole = ended(main)
    return whole, whole.index(start, begin)


def _bitmap_start(at: int, **wrong: int) -> Broken:
    start = handlers.bitmap_start("disk0", "b", **wrong)
    data, begin = _bitmaps(start)
    return Broken(alone(data), begin + len(start) + at)


def _bitmap_bits(start_sector: int) -> tuple[bytes, int]:
    start = handlers.bitmap_start("disk0", "b")
    bits = handlers.bitmap_bits(start_sector, 64 * 128, None)
    data, begin = _bitmaps(start, bits)
    return data, begin + len(start) + 1


def _bitmap_sound() -> Files:
    return alone(_bitmap_bits(64 * 128)[0])


EXAMPLES: Final[Mapping[str, Example]] = {
    "QM401": Example(_cut, _sound()),
    "QM402": Example(_too_long, _sound()),
    "QM403": Example(lambda: _text(description=vmdesc.vmdescription(b'{"a": 1}')), _sound()),
    "QM404": Example(lambda: _text(bits=12, describe=_page_size), _sound(bits=12)),
    "QM405": Example(_not_described, _sound()),
    "QM406": Example(lambda: _text(describe=_more_described), _sound()),
    "QM407": Example(lambda: _text(describe=_swap), _sound()),
    "QM408": Example(lambda: _text(describe=_odd_size), _sound()),
    "QM410": Example(lambda: _body(0, 0, timer=_TIMER_BODY + b"\x01"), _sound()),
    "QM411": Example(lambda: _body(0, -_VERSION_LEN, timer_version=3), _sound()),
    "QM412": Example(lambda: _body(0, -_VERSION_LEN, timer_version=1), _sound()),
    "QM413": Example(lambda: _wrong_subsection("timer/les2", "timer/more"), _right_subsection),
    "QM414": Example(lambda: _wrong_subsection("watch/more", "timer/more"), _right_subsection),
    "QM415": Example(
        lambda: _body(1, 4, state=framing.globalstate_body("strolling")),
        _sound(state=framing.globalstate_body("running")),
    ),
    "QM417": Example(_renamed, _sound()),
    "QM420": Example(lambda: _bitmap_start(-1, flags=9), _bitmap_sound),
    "QM421": Example(lambda: _bitmap_start(-5, granularity=768), _bitmap_sound),
    "QM422": Example(
        lambda: Broken(alone(_bitmap_bits(128)[0]), _bitmap_bits(128)[1]), _bitmap_sound
    ),
    "QM416": Example(_salvaged, lambda: alone(_more("watchdog").build())),
}
