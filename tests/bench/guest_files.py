"""What goes into the benchmark guest: kernel, busybox, its files, and the archive it boots from.

The guest has to fill its memory the way a used machine does: many files of different sizes and
kinds lying between one another, so that in its migration stream runs of data pages and of zero
pages are short in many places. Half of the files are real ones (the kernel's modules), half are
made here from a fixed seed, so that every build gives the same archive.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))

from fixtures.recorder.debian_guest import (
    BootFiles,
    CpioWriter,
    add_busybox,
    download,
    kernel_package_name,
    package_files,
)

SEED = 20240229
MADE_FILES = 6000
FILES_PER_FOLDER = 100
LARGEST_FILE_LEN = 400_000
TEXT = (
    "page block migration offset guest memory kernel running the stream of and a with zero "
    "device record header state machine restore bitmap channel round dirty clear write read"
)

INIT_SCRIPT = """\
#!/bin/busybox sh
# A guest that cannot fill its memory ends, and with it its QEMU: no capture of half a guest.
set -e
/bin/busybox mkdir -p /proc /sys /store /bin /dev
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs -o size=95% store /store
for word in $(cat /proc/cmdline); do
    case $word in fill=*) fill=${word#fill=} ;; esac
done

# Processes of different size, as a used machine has them.
process=0
while [ $process -lt 40 ]; do
    (text=$(head -c $((process * 4000 + 1000)) /data/f00/0001.txt); while :; do sleep 1000; done) &
    process=$((process + 1))
done

# Two writers at a time, so that their pages lie between one another; then a third of what they
# wrote goes away again, and the next round fills the holes with something else.
round=0
while [ $round -lt $fill ]; do
    cp -r /data /store/made$round &
    made=$!
    cp -r /lib/modules /store/modules$round &
    modules=$!
    wait $made
    wait $modules
    for end in 2 5 8; do
        find /store/made$round -name "*$end.*" -exec rm -f {} +
    done
    find /store/modules$round -name '[i-p]*.ko' -exec rm -f {} +
    head -c 3000000 /dev/urandom | gzip > /store/packed$round
    round=$((round + 1))
done
sync
free
echo 'GUEST READY'

# On a word from the console the guest goes on working: writing, overwriting, clearing, deleting.
read -r order
round=0
while :; do
    cp -r /data/f0$((round % 10)) /store/live
    cp -r /data/f1$((round % 10)) /store/live
    dd if=/dev/zero of=/store/packed$((round % fill)) bs=64k count=8 seek=$((round % 30)) \\
        conv=notrunc 2>/dev/null
    head -c 2000000 /dev/urandom > /store/noise$((round % 8))
    [ $round -gt 0 ] || echo 'GUEST WORKING'
    rm -rf /store/live
    round=$((round + 1))
done
"""


def build_boot_files(directory: Path) -> BootFiles:
    """Fetch kernel and busybox as packages and lay the guest's boot files out.

    Args:
        directory: Where packages, kernel and initramfs are kept; what is there stays.

    Returns:
        The paths of kernel and initramfs.

    Raises:
        subprocess.CalledProcessError: apt or dpkg failed.
        LookupError: A package does not hold what the guest needs.
    """
    directory.mkdir(parents=True, exist_ok=True)
    boot = BootFiles(kernel=directory / "vmlinuz", initramfs=directory / "initramfs.cpio")
    if not boot.kernel.exists() or not boot.initramfs.exists():
        kernel_package = download(kernel_package_name(), directory)
        with boot.initramfs.with_suffix(".partial").open("wb") as out:
            archive = CpioWriter(out)
            archive.add_file("init", INIT_SCRIPT.encode(), executable=True)
            add_busybox(archive, directory)
            boot.kernel.write_bytes(_add_modules(archive, kernel_package))
            _add_made_files(archive)
            archive.finish()
        boot.initramfs.with_suffix(".partial").rename(boot.initramfs)
    return boot


def _add_modules(archive: CpioWriter, package: Path) -> bytes:
    """Add the package's modules to the archive and return its kernel."""
    kernel = b""
    for name, content in package_files(package):
        if name.startswith("boot/vmlinuz-"):
            kernel = content.read()
        elif "lib/modules/" in name:
            archive.add_file(name.removeprefix("usr/"), content.read())
    if not kernel:
        raise LookupError(f"{package}: no kernel in it")
    return kernel


def _add_made_files(archive: CpioWriter) -> None:
    """Add text, noise, zeros, and files that are partly each, of many sizes."""
    chance = random.Random(SEED)  # noqa: S311 - repeatable, not secret
    for index in range(MADE_FILES):
        size = min(LARGEST_FILE_LEN, int(chance.lognormvariate(8.7, 1.3)))
        suffix, content = _made_file(chance, index, size)
        folder = index // FILES_PER_FOLDER
        archive.add_file(f"data/f{folder:02d}/{index % FILES_PER_FOLDER:04d}.{suffix}", content)


def _made_file(chance: random.Random, index: int, size: int) -> tuple[str, bytes]:
    kind = index % 5
    if kind in (0, 1):
        words = " ".join(chance.choices(TEXT.split(), k=size // 5 + 1))
        return "txt", f"file {index}\n{words}".encode()[: max(size, 16)]
    if kind == 2:
        return "bin", chance.randbytes(size)
    if kind == 3:
        return "nul", bytes(size)
    # Stretches of one to four pages of data and of zeros by turns: a data base or a disk image.
    mixed = bytearray()
    while len(mixed) < size:
        mixed += chance.randbytes(4096 * chance.randint(1, 4))
        mixed += bytes(4096 * chance.randint(1, 4))
    return "mix", bytes(mixed)
