"""Processes with torch that answer a question of this one, with a trainer's environment, on their stdout."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence

from campaign.launching import allowed_env

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_PATIENCE = 5.0

NO_GPU: Mapping[str, str] = {"CUDA_VISIBLE_DEVICES": ""}


def environment(threads: int, more: Mapping[str, str] = NO_GPU) -> dict[str, str]:
    """That of a trainer. ``more`` says which GPUs are visible."""
    return {
        **allowed_env(dict(os.environ)),
        **dict.fromkeys(_THREADS, str(threads)),
        **more,
    }


def run(argv: Sequence[str], environment: Mapping[str, str]) -> tuple[int, bytes]:
    """Exit code and stdout. The child's stdin is a pipe that ends with this process."""
    with subprocess.Popen(
        argv, env=dict(environment), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        try:
            out = child.stdout.read()
            return child.wait(), out
        except BaseException:  # Ctrl-C above all: whatever it is, the child goes first
            child.terminate()
            try:
                child.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                child.kill()
            raise
