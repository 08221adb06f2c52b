"""What a node offers to Ray: one resource a device."""

from __future__ import annotations

from collections.abc import Container

from campaign.gpus.probe import DeviceReport


def resource_name(device: str) -> str:
    """The Ray resource of a device: ``gpu:<UUID>``, or ``cpu:<host>:<slot>`` as it is."""
    return device if device.startswith("cpu:") else f"gpu:{device}"


def declared(report: DeviceReport, excluded: Container[str]) -> dict[str, int]:
    """What a node offers to Ray: one unit of each device that the site does not exclude."""
    return {resource_name(d.id): 1 for d in report.devices if d.id not in excluded}
