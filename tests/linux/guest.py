"""The Linux guest: what it boots from, the processes that run in it, and its machines.

It boots Debian's kernel, which chooses its own place at random (KASLR). When its processes run it
lists them on the serial line, and they go on: three sleep, one is busy in user space, one in the
kernel, and one keeps writing memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fixtures.recorder.debian_guest import (
    BootFiles,
    CpioWriter,
    add_busybox,
    download,
    kernel_package_name,
    package_files,
)

READY: Final = "GUEST READY"
PROCESS: Final = "PROCESS"
"""Begins a line of the serial line that tells a process: its id and name follow."""
BUSY_IN_USER: Final = "reckoner"
BUSY_IN_KERNEL: Final = "dd"
VMCOREINFO_MODULE: Final = "qemu_fw_cfg"
"""The driver that tells QEMU's device vmcoreinfo where the kernel's note is."""

_SLEEPS: Final = "while :; do sleep 1000; done\n"
_JOBS: Final = {
    "gatekeeper": _SLEEPS,
    "lamplighter": _SLEEPS,
    "night-watchman": _SLEEPS,
    BUSY_IN_USER: "while :; do :; done\n",
    "scribe": """\
page=0
while :; do
    head -c 2000000 /dev/urandom > /pages/$page
    page=$(((page + 1) % 16))
done
""",
    "tapster": f"exec {BUSY_IN_KERNEL} if=/dev/zero of=/dev/null bs=4M\n",
}
SLEEPERS: Final = frozenset(name for name, script in _JOBS.items() if script == _SLEEPS)
PROCESSES: Final = frozenset({"init", *_JOBS, BUSY_IN_KERNEL} - {"tapster"})
"""Names that the kernel has for the processes that are there when the guest is ready."""

_INIT: Final = f"""\
#!/bin/busybox sh
# A guest that cannot begin ends, and with it its QEMU.
set -e
/bin/busybox mkdir -p /proc /sys /dev /pages
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs pages /pages
for module in /modules/*.ko; do insmod $module; done
for job in /jobs/*; do $job & done
for name in {" ".join(sorted(PROCESSES))}; do
    until grep -qxF "$name" /proc/[0-9]*/comm 2>/dev/null; do sleep 1; done
done
until [ -s /pages/3 ]; do sleep 1; done
for process in /proc/[0-9]*; do
    read -r name < $process/comm || continue
    echo {PROCESS} ${{process#/proc/}} $name
done 2>/dev/null
echo '{READY}'
while :; do sleep 1000; done
"""


@dataclass(frozen=True)
class LinuxMachine:
    """A machine that the guest is booted on.

    Attributes:
        name: how its captures are called.
        arguments: of QEMU, without what it boots.
    """

    name: str
    arguments: tuple[str, ...]

    def command_line(self, boot: BootFiles, console: str) -> tuple[str, ...]:
        """Return QEMU's arguments.

        Args:
            boot: what to boot.
            console: the file that the serial line goes to.
        """
        return (
            *("-nodefaults", "-no-user-config", "-display", "none", "-accel", "tcg"),
            *("-smp", "2", "-no-reboot", "-serial", f"file:{console}", *self.arguments),
            *("-kernel", str(boot.kernel), "-initrd", str(boot.initramfs), "-append", COMMAND_LINE),
        )


COMMAND_LINE: Final = "console=ttyS0 panic=-1 quiet"
PC: Final = LinuxMachine("pc", ("-machine", "pc", "-m", "512M"))
# RAM in two ranges, page tables of user space apart from the kernel's (an Intel CPU), and the
# device that the guest tells its note's place.
Q35: Final = LinuxMachine(
    "q35",
    (
        *("-machine", "q35,max-ram-below-4g=512M", "-m", "1G", "-cpu", "Nehalem"),
        *("-device", "vmcoreinfo"),
    ),
)


def boot_files(directory: Path) -> BootFiles:
    """Lay out what the guest boots from.

    Args:
        directory: where packages, kernel and archive are kept; what is there stays.

    Raises:
        LookupError: a package does not hold what the guest needs.
        subprocess.CalledProcessError: apt or dpkg failed.
    """
    boot = BootFiles(kernel=directory / "vmlinuz", initramfs=directory / "initramfs.cpio")
    if boot.kernel.exists() and boot.initramfs.exists():
        return boot
    directory.mkdir(parents=True, exist_ok=True)
    package = download(kernel_package_name(), directory)
    kernel = module = None
    for name, content in package_files(package):
        if name.startswith("boot/vmlinuz-"):
            kernel = content.read()
        elif name.endswith(f"/{VMCOREINFO_MODULE}.ko"):
            module = content.read()
    if kernel is None or module is None:
        raise LookupError(f"{package}: no kernel, or no {VMCOREINFO_MODULE}.ko in it")
    with boot.initramfs.open("wb") as out:
        archive = CpioWriter(out)
        archive.add_file("init", _INIT.encode(), executable=True)
        for name, script in _JOBS.items():
            archive.add_file(f"jobs/{name}", f"#!/bin/sh\n{script}".encode(), executable=True)
        archive.add_file(f"modules/{VMCOREINFO_MODULE}.ko", module)
        add_busybox(archive, directory)
        archive.finish()
    boot.kernel.write_bytes(kernel)  # last: where it stands all else stands
    return boot


def debug_kernel(directory: Path) -> Path:
    """Unpack the kernel with its debug symbols, 600 MB, out of Debian's package of the same name.

    Args:
        directory: where package and kernel are kept; what is there stays.

    Returns:
        The file vmlinux.

    Raises:
        LookupError: there is none in the package.
        subprocess.CalledProcessError: apt or dpkg failed.
    """
    vmlinux = directory / "vmlinux"
    if vmlinux.exists():
        return vmlinux
    directory.mkdir(parents=True, exist_ok=True)
    package = download(f"{kernel_package_name()}-dbg", directory)
    for name, content in package_files(package):
        if "/debug/boot/vmlinux-" in name:
            partial = vmlinux.with_suffix(".partial")
            with partial.open("wb") as out:
                while data := content.read(1 << 20):
                    out.write(data)
            return partial.rename(vmlinux)
    raise LookupError(f"{package}: no vmlinux in it")
