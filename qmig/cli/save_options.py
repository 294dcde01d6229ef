"""The options of `qmig save`, declared for typer."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from qmig.cli.common_options import Offset, PageSize, Quiet, ReplaceFiles
from qmig.cli.guard import guarded
from qmig.cli.save_request import SaveRequest, SyntheticRequest
from qmig.cli.values import named_file, number, share, size

SAVE_HELP: Final = """\
Write a guest as a migration stream that a QEMU restores: a mapped-ram file, an ordinary stream, a
multifd set, or a libvirt image.

SOURCE is anything that `qmig inspect` reads: its RAM is written anew in the format of choice, its
devices are carried over. --ram takes RAM from raw dumps instead. With neither, the built-in
synthetic guest is saved, which goes on dirtying its memory meanwhile. A file appears when it is
complete, or not at all; a pipe keeps what it got. A SIZE is in bytes, or with K, M or G behind it.

\b
Examples:
  qmig save vm.sav --fixed-ram vm.img            any save as a mapped-ram file
  qmig save main.bin ch1.bin --stream vm.sav     a multifd set as one ordinary stream
  qmig save vm.sav --multifd set --channels 4    set, set.ch0 ... set.ch3
  qmig save image --fixed-ram new --libvirt      a libvirt image as a sparse one
  qmig save --devices-from vm.sav --ram pc.ram=dump.raw --fixed-ram vm.img
  qmig save vm.img --stream - | ssh host qmig inspect -
  qmig save --fixed-ram vm.img                   the synthetic guest

\b
Exit codes:
  0    it is written
  1    the source is damaged or cut short; nothing is written
  2    the command line is wrong, or asks for what the format cannot express
  3    a source cannot be read, or the output cannot be written
  70   a bug in qmig
  130  interrupted (143 by SIGTERM); nothing is left behind
"""

# Option -> what its value looks like, and what stands for none.
OPTIONAL_VALUES: Final = {
    "--xbzrle": (r"(0x[0-9a-f]+|[0-9][0-9.]*)[bkmgtpe]?", "64M"),  # xbzrle-cache-size of QEMU
    "--libvirt": (r"raw|gzip|bzip2|xz|lzop|zstd|sparse", "fitting"),
}


def save_command(
    *,
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SOURCE",
            help="A stream, a libvirt image, or all files of one multifd migration; - is standard "
            "input.",
            show_default=False,
        ),
    ] = None,
    fixed_ram: Annotated[
        str | None,
        typer.Option(
            "--fixed-ram",
            "--mapped-ram",
            metavar="OUT",
            help="Write a mapped-ram file (QEMU 9.0 and later).",
        ),
    ] = None,
    stream: Annotated[
        str | None,
        typer.Option(metavar="OUT", help="Write an ordinary stream; - is standard output."),
    ] = None,
    multifd: Annotated[
        str | None,
        typer.Option(metavar="OUT", help="Write a multifd set: OUT, OUT.ch0, OUT.ch1 ..."),
    ] = None,
    channels: Annotated[
        int | None,
        typer.Option(
            parser=number,
            metavar="N",
            help="Threads that write a mapped-ram file (1), or multifd channels (2).",
        ),
    ] = None,
    direct_io: Annotated[
        bool, typer.Option("--direct-io", help="Write past the page cache (mapped-ram).")
    ] = False,
    generation: Annotated[
        str | None,
        typer.Option(
            metavar="RELEASE",
            help="Write multifd packets and syncs as this QEMU, 3.0 to 11.1 (11.1).",
        ),
    ] = None,
    compression: Annotated[
        str | None,
        typer.Option(metavar="METHOD", help="Of multifd packets: none, zlib or zstd (none)."),
    ] = None,
    flush_after_each_section: Annotated[
        bool,
        typer.Option(
            "--flush-after-each-section",
            help="Bring multifd channels into step after each section, as up to 8.0.",
        ),
    ] = False,
    xbzrle: Annotated[
        int | None,
        typer.Option(
            parser=size,
            metavar="[SIZE]",
            help="Send what changed in a page alone (ordinary stream); size of the cache (64M).",
        ),
    ] = None,
    compress: Annotated[
        bool,
        typer.Option("--compress", help="Compress each page, as up to 9.0 (ordinary stream)."),
    ] = False,
    libvirt: Annotated[
        str | None,
        typer.Option(
            metavar="[FORMAT]",
            help="Put it into a libvirt image: raw, gzip, bzip2, xz, lzop, zstd, or sparse "
            "(with --fixed-ram).",
        ),
    ] = None,
    libvirt_xml: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="The domain's XML; by default that of the source."),
    ] = None,
    libvirt_cookie: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="libvirt's cookie; by default that of the source."),
    ] = None,
    ram: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FILE",
            help="Take this RAM block from a raw dump; can be given again.",
        ),
    ] = None,
    devices_from: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CAPTURE",
            help="Take devices, and RAM that no dump gives, from here; again for more files.",
        ),
    ] = None,
    machine: Annotated[
        str | None,
        typer.Option(
            metavar="TYPE",
            help="Record this machine type, where RAM is saved alone; else QEMU must be told "
            "that there is none.",
        ),
    ] = None,
    page_size_len: PageSize = None,
    offset: Offset = None,
    seed: Annotated[
        int | None,
        typer.Option(
            parser=number, metavar="N", help="Synthetic guest: all of it follows from this (0)."
        ),
    ] = None,
    size_len: Annotated[
        int | None,
        typer.Option(
            "--size", parser=size, metavar="SIZE", help="Synthetic guest: its memory (64M)."
        ),
    ] = None,
    zero_share: Annotated[
        float | None,
        typer.Option(parser=share, metavar="X", help="Synthetic guest: share of zero pages (0.5)."),
    ] = None,
    constant_share: Annotated[
        float | None,
        typer.Option(
            parser=share, metavar="X", help="Synthetic guest: share of pages of one byte (0.1)."
        ),
    ] = None,
    random_share: Annotated[
        float | None,
        typer.Option(
            parser=share, metavar="X", help="Synthetic guest: share of random pages (0.4)."
        ),
    ] = None,
    dirty_rate: Annotated[
        int | None,
        typer.Option(
            parser=size,
            metavar="SIZE",
            help="Synthetic guest: memory that it dirties in a second (10M); 0: it stands still.",
        ),
    ] = None,
    workload: Annotated[
        str | None,
        typer.Option(
            metavar="PATTERN",
            help="Synthetic guest: where it writes: hot (most to a small part) or uniform (hot).",
        ),
    ] = None,
    max_rounds: Annotated[
        int | None,
        typer.Option(
            parser=number,
            metavar="N",
            help="Synthetic guest: stop it after so many rounds, whatever is left (30).",
        ),
    ] = None,
    downtime_limit: Annotated[
        int | None,
        typer.Option(
            parser=number,
            metavar="MS",
            help="Synthetic guest: stop it when the rest takes no longer, in milliseconds (300).",
        ),
    ] = None,
    auto_converge: Annotated[
        bool,
        typer.Option(
            "--auto-converge", help="Synthetic guest: throttle it while it dirties too fast."
        ),
    ] = False,
    max_bandwidth: Annotated[
        int | None,
        typer.Option(parser=size, metavar="SIZE", help="Write at most so much in a second."),
    ] = None,
    force: ReplaceFiles = False,
    json: Annotated[
        bool, typer.Option("--json", help="Write the counters as one JSON document.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Write a guest as a migration stream; the options say how."""
    outputs = {"mapped-ram": fixed_ram, "stream": stream, "multifd": multifd}
    request = SaveRequest(
        sources=sources or [],
        outputs={name: out for name, out in outputs.items() if out is not None},
        channels=channels,
        direct_io=direct_io,
        generation=generation,
        compression=compression,
        flush_after_each_section=flush_after_each_section,
        xbzrle_cache_len=xbzrle,
        compress=compress,
        libvirt=libvirt,
        libvirt_xml=libvirt_xml,
        libvirt_cookie=libvirt_cookie,
        dumps=[named_file(text) for text in ram or []],
        devices_from=devices_from or [],
        machine=machine,
        page_size_len=page_size_len,
        offset=offset,
        synthetic=SyntheticRequest(
            seed=seed,
            size=size_len,
            zero_share=zero_share,
            constant_share=constant_share,
            random_share=random_share,
            dirty_rate=dirty_rate,
            workload=workload,
            max_rounds=max_rounds,
            downtime_limit=downtime_limit,
            auto_converge=auto_converge or None,
        ),
        max_bandwidth=max_bandwidth,
        force=force,
        json=json,
        quiet=quiet,
    )
    raise typer.Exit(guarded(lambda: _save(request)))


def _save(request: SaveRequest) -> int:
    from qmig.cli.save import save

    return save(request)
