"""Holds what `qmig devices` says of a guest against what its QEMU said."""

import re
from typing import Any, Final

from qmig.devices import Device
from qmig.devices.facts import facts_of
from qmig.devices.pci_facts import config_of
from qmig.devices.tree import counted_len
from tests.interop.device_guests import DeviceGuest, Told

_ON_X86: Final = ("cpu", "apic", "mc146818rtc")
# The root bus by its name, where it has no number.
_NAMED_BUS: Final = re.compile(r"^pci(?:@[0-9a-f]+)?:")
# Names whose registers are told; those of the others stand as fields.
_NAMED: Final = frozenset({"x86_64", "aarch64", "arm", "s390x", "ppc64", "riscv64"})
# The condition code, which QEMU prints within the mask, is a field of its own.
_PSW_CC: Final = 3 << 44
# `info registers` -> the names of `qmig.devices`, where they differ.
_X86: Final = {"efl": "rflags", "rfl": "rflags"}


def compare(devices: list[Device], told: Told, guest: DeviceGuest) -> None:
    """Hold all that is told of a guest's devices against what QEMU said of them."""
    for device in devices:
        assert device.error is None
        assert device.undescribed is None
        assert counted_len(device.tree) == device.length
    if guest.target in _NAMED:
        compare_registers(devices, told, guest.target)
    if guest.target == "x86_64":
        compare_x86(devices, told)
    assert compare_pci(devices, told) >= min(len(told.pci), 1)
    assert compare_virtio(devices, told, guest) == len(told.virtio)


def compare_registers(devices: list[Device], told: Told, target: str) -> None:
    facts = [facts for one in devices if one.name == "cpu" for _, facts in [facts_of(one)]]
    assert len(facts) == len(told.registers)
    for mine, theirs in zip(facts, told.registers, strict=True):
        seen = 0
        for name, value in theirs.items():
            known, most = name, (1 << 64) - 1
            if target == "x86_64":
                known = _X86.get(name, name)
                if name[0] == "e" and name not in ("efer", "efl"):
                    known, most = f"r{name[1:]}", (1 << 32) - 1
            if name == "psw_mask":
                most, value = most & ~_PSW_CC, value & ~_PSW_CC
            if known in mine:
                assert mine[known] & most == value, name
                seen += 1
        assert seen >= 16


def compare_x86(devices: list[Device], told: Told) -> None:
    """Hold segments, local APICs and the real-time clock against what QEMU said of them."""
    known = {name: [facts_of(one)[1] for one in devices if one.name == name] for name in _ON_X86}
    for facts, theirs in zip(known["cpu"], told.segments, strict=True):
        mine = {one["name"]: one for one in facts["segments"]}
        assert set(mine) - {"gdt", "idt"} == set(theirs)
        for name, (selector, base, limit, flags) in theirs.items():
            segment = mine[name]
            assert (segment["selector"], segment["base"]) == (selector, base), name
            # QEMU prints the bits of the descriptor alone.
            assert (segment["limit"], segment["flags"] & 0x00FFFF00) == (limit, flags), name
    assert len(known["apic"]) == len(told.apics)
    for facts, vectors in zip(known["apic"], told.apics, strict=True):
        assert facts["in_service"] == vectors["ISR"]
        assert facts["requested"] == vectors["IRR"]
    if told.rtc is not None:
        tm = told.rtc
        date = f"{tm['tm_year'] + 1900:04}-{tm['tm_mon'] + 1:02}-{tm['tm_mday']:02}"
        time = f"{tm['tm_hour']:02}:{tm['tm_min']:02}:{tm['tm_sec']:02}"
        assert [facts["time"] for facts in known["mc146818rtc"]] == [f"{date} {time}"]


def compare_pci(devices: list[Device], told: Told) -> int:
    """Hold PCI devices against `query-pci`; return how many there were."""
    known = {}
    for device in devices:
        _, facts = facts_of(device)
        facts = facts.get("pci", facts)
        if "vendor_id" in facts and facts.get("address") is not None:
            known[_address(facts)] = facts
    compared = 0
    for address, theirs in told.pci.items():
        if address not in known:  # SeaBIOS knows it, but its state has no configuration space
            assert not any(config_of(one.tree) for one in devices if address in one.name)
            continue
        mine = known[address]
        identity = theirs["id"]
        assert mine["vendor_id"] == identity["vendor"]
        assert mine["device_id"] == identity["device"]
        assert mine["class"] == theirs["class_info"]["class"]
        if "subsystem" in identity and "subsystem_id" in mine:
            assert mine["subsystem_id"] == identity["subsystem"]
        bars = {bar["bar"]: bar for bar in mine["bars"]}
        for region in theirs["regions"]:
            if region["address"] < 0 or region["bar"] not in bars:
                # Not mapped; and a ROM may be there that was never given an address.
                assert region["address"] < 0
                continue
            bar = bars[region["bar"]]
            assert bar["addr"] == region["address"]
            assert (bar["kind"] == "I/O") == (region["type"] == "io")
            assert bar["prefetchable"] == region.get("prefetch", False) or bar["kind"] == "ROM"
        bridge = theirs.get("pci_bridge")
        if bridge:
            assert mine["secondary_bus"] == bridge["bus"]["secondary"]
            assert mine["subordinate_bus"] == bridge["bus"]["subordinate"]
            assert mine["memory_base_addr"] == bridge["bus"]["memory_range"]["base"]
            assert mine["memory_limit_addr"] == bridge["bus"]["memory_range"]["limit"]
            assert mine["io_base_addr"] == bridge["bus"]["io_range"]["base"]
            assert mine["io_limit_addr"] == bridge["bus"]["io_range"]["limit"]
            assert mine["pref_memory_base_addr"] == bridge["bus"]["prefetchable_range"]["base"]
            assert mine["pref_memory_limit_addr"] == bridge["bus"]["prefetchable_range"]["limit"]
        compared += 1
    return compared


def _address(facts: dict[str, Any]) -> str | None:
    """Return the PCI address as `query-pci` has it; None for what is no PCI device."""
    address = facts.get("address")
    return None if address is None else _NAMED_BUS.sub("0000:00:", address)


def compare_virtio(devices: list[Device], told: Told, guest: DeviceGuest) -> int:
    """Hold virtio devices against what QEMU said of them; return how many there were."""
    mine = [facts for one in devices for _, facts in [facts_of(one)] if "guest_features" in facts]
    addresses = {str(device["qdev_id"]): address for address, device in told.pci.items()}
    compared = 0
    for name, theirs in told.virtio.items():
        kind = theirs["name"].replace("virtio-serial", "virtio-console")
        known = [facts for facts in mine if facts["device"] == kind]
        if name in addresses:  # not where it is on no PCI bus, or on one that has no number yet
            known = [facts for facts in known if _address(facts["pci"]) == addresses[name]]
        (facts,) = known
        mine.remove(facts)
        if guest.tells_status:
            compare_status(facts, theirs)
        for queue, status in zip(facts["queues"], theirs["queues"], strict=True):
            assert queue["num"] == status["vring-num"]
            for field in ("desc", "avail", "used"):
                assert queue[f"{field}_addr"] == status[f"vring-{field}"], field
            assert queue["last_avail_idx"] == status["last-avail-idx"]
            if "used_idx" in queue:
                assert queue["used_idx"] == status["used-idx"]
        if name == guest.run_until:
            # The firmware of a POWER guest does not say so each time that it uses the disk.
            assert "DRIVER_OK" in facts["status"] or guest.target == "ppc64"
            assert facts["queues"][0]["desc_addr"]
            assert facts["queues"][0]["last_avail_idx"]
        compared += 1
    assert not mine or not told.virtio
    return compared


def compare_status(facts: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Hold status and features against `x-query-virtio-status`."""
    assert set(facts["status"]) == {
        word.split(":")[0].removeprefix("VIRTIO_CONFIG_S_") for word in theirs["status"]["statuses"]
    }
    features = theirs["guest-features"]
    words = [*features["transports"], *features.get("dev-features", [])]
    assert sorted(facts["features"]) == sorted(word.split(":")[0] for word in words)
    assert facts["isr"] == theirs["isr"]
    assert facts["broken"] == theirs["broken"]
    assert facts["disabled"] == theirs["disabled"]
    assert len(facts["queues"]) == theirs["num-vqs"]
