"""What goes into the benchmark guest: kernel, busybox, its files, and the archive it boots from.

The guest has to fill its memory the way a used machine does: many files of different sizes and
kinds lying between one another, so that in its migration stream runs of data pages and of zero
pages are short in many places. Half of the files are real ones (the kernel's modules), half are
made here from a fixed seed, so that every build gives the same archive.
"""

from __future__ import annotations

import random
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

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


@dataclass(frozen=True)
class BootFiles:
    """The two files that QEMU boots the guest from."""

    kernel: Path
    initramfs: Path


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
        kernel_package = _download(_kernel_package_name(), directory)
        busybox_package = _download("busybox-static", directory)
        with boot.initramfs.with_suffix(".partial").open("wb") as out:
            archive = CpioWriter(out)
            archive.add_file("init", INIT_SCRIPT.encode(), executable=True)
            _add_busybox(archive, busybox_package)
            boot.kernel.write_bytes(_add_modules(archive, kernel_package))
            _add_made_files(archive)
            archive.finish()
        boot.initramfs.with_suffix(".partial").rename(boot.initramfs)
    return boot


class CpioWriter:
    """Writes the "newc" archive that Linux unpacks as its first root file system.

    Folders are added as files need them. Owner and times are zero, so that the same files
    always give the same bytes.
    """

    _DIRECTORY_MODE = 0o040755
    _FILE_MODE = 0o100644
    _PROGRAM_MODE = 0o100755
    _ALIGNMENT = 4

    def __init__(self, out: BinaryIO) -> None:
        """Write to `out`, which is left open."""
        self._out = out
        self._entries = 0
        self._directories: set[str] = set()

    def add_file(self, name: str, content: bytes, *, executable: bool = False) -> None:
        """Add one regular file, and the folders above it that are not there yet."""
        parts = name.split("/")[:-1]
        for depth in range(1, len(parts) + 1):
            folder = "/".join(parts[:depth])
            if folder not in self._directories:
                self._directories.add(folder)
                self._add(folder, b"", self._DIRECTORY_MODE)
        self._add(name, content, self._PROGRAM_MODE if executable else self._FILE_MODE)

    def finish(self) -> None:
        """Write the entry that ends the archive."""
        self._add("TRAILER!!!", b"", 0)

    def _add(self, name: str, content: bytes, mode: int) -> None:
        self._entries += 1
        encoded = name.encode() + b"\0"
        # inode, mode, uid, gid, nlink, mtime, filesize, 4 device numbers, namesize, check
        numbers = (self._entries, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(encoded), 0)
        head = b"070701" + b"".join(b"%08x" % number for number in numbers) + encoded
        self._out.write(head + bytes(-len(head) % self._ALIGNMENT))
        self._out.write(content + bytes(-len(content) % self._ALIGNMENT))


def _kernel_package_name() -> str:
    """Ask apt which kernel the cloud flavour's meta package stands for."""
    shown = subprocess.run(
        ["apt-cache", "show", "--no-all-versions", "linux-image-cloud-amd64"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for line in shown.splitlines():
        if line.startswith("Depends:"):
            return line.removeprefix("Depends:").split()[0].rstrip(",")
    raise LookupError("linux-image-cloud-amd64 names no kernel package; is `apt-get update` due?")


def _download(package: str, directory: Path) -> Path:
    """Fetch one package file into `directory`, unless it is there."""
    pattern = f"{package}_*.deb"
    found = sorted(directory.glob(pattern))
    if not found:
        subprocess.run(["apt-get", "download", "-qq", package], check=True, cwd=directory)
        found = sorted(directory.glob(pattern))
    if not found:
        raise LookupError(f"apt-get download gave no {pattern}")
    return found[-1]


def _package_files(package: Path) -> list[tuple[str, bytes]]:
    """Name and content of every regular file of a package, in the package's order."""
    command = ["dpkg-deb", "--fsys-tarfile", str(package)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as unpacker:
        if unpacker.stdout is None:
            raise LookupError(f"{package}: no output from dpkg-deb")
        files = []
        with tarfile.open(fileobj=unpacker.stdout, mode="r|") as tar:
            for member in tar:
                content = tar.extractfile(member) if member.isreg() else None
                if content is not None:
                    files.append((member.name.removeprefix("./"), content.read()))
    if unpacker.returncode:
        raise subprocess.CalledProcessError(unpacker.returncode, command)
    return files


def _add_busybox(archive: CpioWriter, package: Path) -> None:
    for name, content in _package_files(package):
        if name.endswith("bin/busybox"):
            archive.add_file("bin/busybox", content, executable=True)
            return
    raise LookupError(f"{package}: no busybox in it")


def _add_modules(archive: CpioWriter, package: Path) -> bytes:
    """Add the package's modules to the archive and return its kernel."""
    kernel = b""
    for name, content in _package_files(package):
        if name.startswith("boot/vmlinuz-"):
            kernel = content
        elif "lib/modules/" in name:
            archive.add_file(name.removeprefix("usr/"), content)
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
