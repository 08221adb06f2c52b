"""From an attempt to what a host needs to start it. Pure: all is in the state."""

from __future__ import annotations

import sys
from typing import Any

from campaign.hosts.port import Launch
from campaign.records import Attempt, Campaign, Run
from campaign.stored_spec import effective
from specs import files
from specs.run import RunSpec
from specs.trainer_command import CommandTrainer

ENV_ALLOWED = (
    "PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "SHELL", "TERM",
    "VIRTUAL_ENV", "CONDA_PREFIX", "CONDA_DEFAULT_ENV", "LD_LIBRARY_PATH", "PYTHONPATH",
    "PYTHONHASHSEED", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR",
    "HF_HOME", "HF_HUB_OFFLINE", "TORCH_HOME", "TRITON_CACHE_DIR", "CUDA_HOME", "NCCL_DEBUG",
    "SSL_CERT_FILE", "CAMPAIGN_FAKE_GPUS",
)  # fmt: skip
"""Variables that a trainer inherits from the submitter; LC_* too. Nothing else: secrets stay out."""


def allowed_env(environment: dict[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in environment.items()
        if name in ENV_ALLOWED or name.startswith("LC_")
    }


def launch_of(campaign: Campaign, run: Run, attempt: Attempt) -> Launch:
    """Raises Unusable where the stored spec cannot be read: no attempt of such a run is made."""
    spec = effective(run.spec, run.changes)
    return Launch(
        directory=attempt.directory,
        campaign=attempt.campaign,
        run=attempt.run,
        attempt=attempt.number,
        cookie=attempt.cookie,
        argv=_argv(spec, attempt.directory),
        cwd=_cwd(spec, campaign),
        env=_environment(spec, campaign),
        devices=attempt.devices,
        spec=_spec_json(campaign, spec, attempt),
        code=campaign.code,
        grace=spec.limits.grace,
        timeout=spec.limits.timeout,
    )


def _argv(spec: RunSpec, directory: str) -> tuple[str, ...]:
    """``-P -E``: nothing in the user's working directory or PYTHONPATH may shadow our modules."""
    module = "trainers.command" if isinstance(spec.trainer, CommandTrainer) else "trainers.entry"
    return (sys.executable, "-P", "-E", "-m", module, directory)


def _cwd(spec: RunSpec, campaign: Campaign) -> str:
    if isinstance(spec.trainer, CommandTrainer) and spec.trainer.cwd is not None:
        return spec.trainer.cwd
    return campaign.cwd


def _environment(spec: RunSpec, campaign: Campaign) -> dict[str, str]:
    threads = str(spec.resources.cpus)
    limits = dict.fromkeys(
        ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS"),
        threads,
    )
    return {**campaign.env, **limits}


def _spec_json(campaign: Campaign, spec: RunSpec, attempt: Attempt) -> dict[str, Any]:
    resolved = spec.model_dump(mode="json")
    return {
        "schema": files.SCHEMA,
        "campaign": attempt.campaign,
        "run": attempt.run,
        "attempt": attempt.number,
        "spec": resolved,
        "spec_hash": files.digest_json(resolved),
        "start": attempt.start.model_dump(mode="json"),
        "parent_attempt": attempt.parent,
        "profile": campaign.profile,
        "git_commit": campaign.git_commit,
        "git_dirty": campaign.git_dirty,
        "host": attempt.host,
        "devices": list(attempt.devices),
        "threads": spec.resources.cpus,
        "submitted_at": campaign.submitted_at,
    }
