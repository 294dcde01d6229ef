"""Streams that break one rule of QM04x to QM06x each: commands, and the order of postcopy."""

from collections.abc import Callable, Mapping
from typing import Final

from tests.builders import commands, framing, ram
from tests.builders.commands import Command
from tests.builders.machine import MainStream
from tests.builders.primitives import be32, be64, counted
from tests.checks.broken_framing import BLOCK, MACHINE, ended, pages, send_ram, stream
from tests.checks.example import Broken, Example, Files, alone

_PAGE_LEN: Final = 4096
_BLOCK_LEN: Final = 1024 * _PAGE_LEN
_HEAD_LEN: Final = 5  # type, command, length
_LEN_AT: Final = 3
_ADVISED: Final = commands.postcopy_advise(_PAGE_LEN)


def _with_command(command: bytes, at: int = 0) -> Broken:
    """Put a command before the END of ram; what is wrong stands `at` bytes into it."""
    main = stream()
    offset = len(main.unfinished())
    main.add(command)
    return Broken(alone(ended(main)), offset + at)


def _commanded(*elements: bytes, advised: bytes = _ADVISED) -> Files:
    """Build a stream with postcopy announced and commands before its END."""
    return _postcopy(*elements, advised=advised).files


def _postcopy(*elements: bytes, advised: bytes = _ADVISED, wrong: int = 0, at: int = 0) -> Broken:
    """Announce postcopy, and send commands before END; `wrong` of them breaks a rule at `at`."""
    main = MainStream("10.0", MACHINE)
    main.add(advised)
    send_ram(main)
    offset = len(main.unfinished()) + sum(map(len, elements[:wrong])) + at
    for element in elements:
        main.add(element)
    return Broken(alone(ended(main)), offset)


def _discard(
    block: str = BLOCK, start: int = 0, length: int = _PAGE_LEN, *, version: int = 0, nil: int = 0
) -> bytes:
    return commands.postcopy_ram_discard(block, [(start, length)], version=version, nil=nil)


def _sound_discard() -> Files:
    return _commanded(_discard())


def _ping() -> Files:
    main = MainStream("10.0", MACHINE)
    main.add(commands.open_return_path() + commands.ping(1))
    send_ram(main)
    return alone(ended(main))


def _ping_without_path() -> Broken:
    main = MainStream("10.0", MACHINE)
    offset = len(main.unfinished()) + _HEAD_LEN
    main.add(commands.ping(1))
    send_ram(main)
    return Broken(alone(ended(main)), offset)


def _advised_twice() -> Broken:
    return _postcopy(_ADVISED)


def _package(*extra: bytes, length: int | None = None) -> tuple[MainStream, bytes]:
    """Begin a stream that goes over to postcopy, and build its package."""
    main = MainStream("10.0", MACHINE)
    main.add(commands.open_return_path() + commands.ping(1) + _ADVISED)
    send_ram(main)
    inner = [commands.postcopy_listen(), *main.standard_sections("running"), *extra]
    return main, commands.packaged(b"".join(inner) + commands.postcopy_run(), length=length)


def _run_postcopy() -> Files:
    main, package = _package()
    main.add(package)
    main.ram_part(pages())
    main.ram_end()
    return alone(main.finish(describe=False))


def _cut_package() -> Broken:
    main, package = _package()
    main.add(package[:-2])
    data = main.unfinished()
    return Broken(alone(data), len(data) - len(package) + 2 + _HEAD_LEN + 4)


def _nested_package() -> Broken:
    within = commands.packaged(commands.switchover_start())
    main, package = _package(within)
    offset = len(main.unfinished()) + package.index(within) + _HEAD_LEN + 4
    main.add(package)
    main.ram_part(pages())
    main.ram_end()
    return Broken(alone(main.finish(describe=False)), offset)


def _advise_bits(size: int) -> Callable[[], Broken]:
    def build() -> Broken:
        main = MainStream("10.0", MACHINE, subsections=[framing.target_page_bits(12)])
        offset = len(main.unfinished()) + _HEAD_LEN + 8
        main.add(commands.postcopy_advise(_PAGE_LEN, size))
        send_ram(main)
        return Broken(alone(ended(main)), offset)

    return build


def _no_range() -> Broken:
    return _postcopy(commands.postcopy_ram_discard(BLOCK, []), at=_HEAD_LEN)


def _half_a_range() -> bytes:
    payload = bytes(1) + counted(BLOCK) + bytes(1) + be64(0) + be64(_PAGE_LEN) + be64(0)
    return commands.command(Command.POSTCOPY_RAM_DISCARD, payload)


_RANGE_AT: Final = _HEAD_LEN + 2 + len(BLOCK) + 1


def _recv_bitmap(name: str) -> bytes:
    return commands.recv_bitmap(name)


def _resumed(*elements: bytes, wrong: int = 0, at: int = 0) -> Broken:
    """Build a postcopy migration that broke, and the connection that resumed it."""
    main, package = _package()
    main.add(package)
    main.ram_part(pages())
    first = main.unfinished()
    section_id = main.release.ram_id
    again = framing.section_part(section_id, pages() + ram.eos())
    again += framing.section_end(section_id, ram.eos()) + framing.end_of_file()
    offset = sum(map(len, elements[:wrong])) + at
    second = b"".join(elements) + commands.postcopy_resume() + again
    return Broken({"main": first, "second": second}, offset, "second")


EXAMPLES: Final[Mapping[str, Example]] = {
    "QM040": Example(
        lambda: _with_command(commands.command(99), 1),
        lambda: _with_command(commands.switchover_start()).files,
    ),
    "QM041": Example(
        lambda: _with_command(commands.command(Command.SWITCHOVER_START, b"\0\0"), _LEN_AT),
        lambda: _with_command(commands.switchover_start()).files,
    ),
    "QM042": Example(_ping_without_path, _ping),
    "QM043": Example(_advised_twice, _commanded),
    "QM044": Example(
        lambda: _with_command(commands.command(Command.POSTCOPY_ADVISE, bytes(7)), _LEN_AT),
        _commanded,
    ),
    "QM045": Example(
        lambda: _postcopy(_discard(), advised=commands.postcopy_advise()), _sound_discard
    ),
    "QM046": Example(_advise_bits(8192), lambda: _advise_bits(4096)().files),
    "QM047": Example(lambda: _with_command(commands.postcopy_listen()), _run_postcopy),
    "QM048": Example(lambda: _postcopy(commands.postcopy_run()), _run_postcopy),
    "QM049": Example(lambda: _with_command(_discard()), _sound_discard),
    "QM050": Example(lambda: _postcopy(_discard(version=1), at=_HEAD_LEN), _sound_discard),
    "QM051": Example(lambda: _postcopy(_discard(nil=1), at=_HEAD_LEN), _sound_discard),
    "QM052": Example(_no_range, _sound_discard),
    "QM053": Example(lambda: _postcopy(_discard("vga"), at=_HEAD_LEN), _sound_discard),
    "QM054": Example(lambda: _postcopy(_discard(start=_BLOCK_LEN), at=_RANGE_AT), _sound_discard),
    "QM055": Example(_cut_package, _run_postcopy),
    "QM057": Example(_nested_package, _run_postcopy),
    "QM058": Example(
        lambda: _resumed(_recv_bitmap("vga"), at=_HEAD_LEN),
        lambda: _resumed(_recv_bitmap(BLOCK)).files,
    ),
    "QM059": Example(
        lambda: _resumed(
            _recv_bitmap(BLOCK),
            commands.command(Command.RECV_BITMAP, counted(BLOCK) + be32(0)),
            wrong=1,
            at=_HEAD_LEN,
        ),
        lambda: _resumed(_recv_bitmap(BLOCK)).files,
    ),
    "QM060": Example(
        lambda: _with_command(commands.postcopy_resume()),
        lambda: _resumed(_recv_bitmap(BLOCK)).files,
    ),
    "QM061": Example(lambda: _postcopy(_discard(length=100), at=_RANGE_AT), _sound_discard),
}
