"""Processes with torch that answer a question of this one, with a trainer's environment, on their stdout."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO

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
    """Exit code and stdout."""
    with answering(argv, environment) as (child, stdout):
        out = stdout.read()
        return child.wait(), out


@contextmanager
def answering(
    argv: Sequence[str], environment: Mapping[str, str]
) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
    """A child and its stdout, while it answers. Its stdin is a pipe that ends with this process."""
    with subprocess.Popen(
        argv, env=dict(environment), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        try:
            yield child, child.stdout
        except BaseException:  # Ctrl-C above all: whatever it is, the child goes first
            child.terminate()
            try:
                child.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                child.kill()
            raise


def ending(code: int) -> str:
    """How a child ended, for a sentence: ``signal 9``, ``exit code 1``."""
    return f"signal {-code}" if code < 0 else f"exit code {code}"
