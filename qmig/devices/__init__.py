"""Device state, decoded by the description that the stream carries of it."""

from qmig.devices.devices import Device, Devices, open_devices

__all__ = ["Device", "Devices", "open_devices"]
