"""The GPUs, and the configuration that says which of them to leave alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from campaign import config
from campaign.checks.finding import Context, Finding, fail, ok, warn
from campaign.gpus.probe import Device, DeviceReport, ProbeKind
from campaign.gpus.refs import excluded, known, unmatched

DRIVER = Path("/proc/driver/nvidia/version")
"""There where the NVIDIA kernel module is loaded."""


def gpus(context: Context) -> Iterable[Finding]:
    """The probe's answer, the GPUs that it cannot use, and exclusions that name none of them."""
    report = context.probe.report()
    yield probe_finding(report, driver_loaded=DRIVER.exists())
    for device in report.devices:
        if device.problem is not None:
            advice = "it is not used until this is mended"
            yield warn("GPU", f"{device.id} ({device.name}): {device.problem}", advice)
    yield from configuration(context, report.devices)


def probe_finding(report: DeviceReport, *, driver_loaded: bool) -> Finding:
    """What a report means: doubt is a failure, and never read as a host without GPUs."""
    listed = known(report.devices)
    match report.probe:
        case ProbeKind.FAKE:
            return warn("GPUs", f"SIMULATED: {listed}", "unset CAMPAIGN_FAKE_GPUS")
        case ProbeKind.UNKNOWN:
            advice = "see what nvidia-smi says; no GPU of this host is used before it is known"
            return fail("GPUs", f"the GPUs are in doubt: {report.problem}", advice)
        case ProbeKind.NONE if driver_loaded:
            advice = "in a container: start it with the NVIDIA runtime and the utility capability"
            return warn("GPUs", "the NVIDIA driver is loaded, but its NVML library is not", advice)
        case ProbeKind.NONE:
            return ok("GPUs", "no NVML library, so no GPU: runs use CPU slots")
        case ProbeKind.REAL if report.problem is not None:
            return warn(
                "GPUs", f"{report.problem}; the others: {listed}", "see what nvidia-smi says"
            )
        case ProbeKind.REAL:
            return ok("GPUs", f"driver {report.driver}: {listed}")


def configuration(context: Context, devices: Sequence[Device]) -> Iterable[Finding]:
    """The configuration files, and what their exclusions mean now."""
    try:
        exclusions = config.load(context.home, host=context.host).exclusions
    except config.ConfigError as error:
        for problem in error.problems:
            yield fail("configuration", problem, "mend the file; nothing starts before")
        return
    covered = len(excluded(devices, exclusions))
    sentence = f"exclusions: {len(exclusions)}, devices of this host that they cover: {covered}"
    yield ok("configuration", sentence)
    for exclusion in unmatched(devices, exclusions):
        advice = "it stays in force; if it is a mistake of writing, a GPU is not protected"
        yield warn("exclusion", f"{exclusion} names no GPU of this host", advice)


CHECKS = (gpus,)
