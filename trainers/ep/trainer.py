"""The EP core as a trainer: trainers.protocol.Trainer over the pure functions of this package."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from specs.trainer_ep import EpTrainer
from trainers.ep import jr, measure, snapshots
from trainers.ep.adamw import adamw
from trainers.ep.block import Params, init
from trainers.ep.caps import matrix_norms, read_norms
from trainers.ep.compute.engine import engine_for
from trainers.ep.draws import Purpose, generator
from trainers.ep.relax import RelaxPolicy
from trainers.ep.schedule import learning_rate
from trainers.ep.step import StepGradient, step_gradient
from trainers.ep.text import TextBatches
from trainers.ep.update import clip_factor, update_
from trainers.protocol import Evidence, Snapshot


def build(
    settings: EpTrainer,
    data: TextBatches,
    *,
    device: torch.device | None = None,
    threads: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> EpTraining:
    """A trainer at step 0, its parameters drawn from the seed. float32 products stay float32 (no TF32).

    ``device`` overrides the settings'; ``threads`` sets torch's, for the whole process.
    """
    torch.set_float32_matmul_precision("highest")
    if threads is not None:
        torch.set_num_threads(threads)
    return EpTraining(settings, data, device=device or _device(settings), dtype=dtype)


def _device(settings: EpTrainer) -> torch.device:
    if settings.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(settings.device)


class EpTraining:
    """Parameters, their average, AdamW and the text, one training step at a time."""

    def __init__(
        self, settings: EpTrainer, data: TextBatches, *, device: torch.device, dtype: torch.dtype
    ) -> None:
        source = generator(settings.seed, 0, Purpose.INIT)
        drawn = init(settings, data.vocabulary, source, dtype)
        self._settings = settings
        self._data = data
        self._device = device
        self._engine = engine_for(settings, device)
        self._params = Params(*(t.to(device).requires_grad_() for t in drawn))
        self._ema = _copy(self._params)
        self._optimizer = adamw(self._params, settings)
        self._jr = jr.initial(settings.jacreg)
        self._initial_norms = matrix_norms(self._params)
        self._accepted_norm = 0.0
        self._step = 0
        data.batch(0, 1, settings.context)  # a training part that is too short is refused here
        idx, y = data.validation(settings.validation.sequences, settings.context)
        self._validation = idx.to(device), y.to(device)
        self._evaluated: tuple[int, Mapping[str, float]] | None = None

    @property
    def step(self) -> int:
        return self._step

    @property
    def total_steps(self) -> int:
        return self._settings.steps

    @property
    def phase(self) -> None:
        return None

    @property
    def evaluate_every(self) -> int:
        return self._settings.validation.every

    @property
    def checkpoint_every(self) -> int:
        return self._settings.checkpoints.every

    @property
    def log_every(self) -> int:
        return self._settings.log_every

    @property
    def params(self) -> Params:
        return self._params

    @property
    def ema(self) -> Params:
        return self._ema

    def describe(self) -> Mapping[str, Any]:
        return {
            "trainer": "ep",
            "estimator": self._settings.estimator.value,
            "objective": self._settings.objective.value,
            "parameters": sum(t.numel() for t in self._params),
            "vocabulary": self._data.vocabulary,
            "device": str(self._device),
            "threads": torch.get_num_threads(),
            "dtype": str(self._params.E.dtype),
            "compute": dict(self._engine.describe()),
            "data": dict(self._data.describe()),
        }

    def advance(self) -> Mapping[str, float]:
        """One training step. Raises NonFinite, naming the tensors, where a number is not finite."""
        settings = self._settings
        idx, y = self._data.batch(self._step, settings.batch, settings.context)
        result = step_gradient(
            self._params,
            settings,
            idx.to(self._device),
            y.to(self._device),
            step=self._step,
            jr=self._jr.jr,
            accepted_norm=self._accepted_norm,
            engine=self._engine,
        )
        lr = learning_rate(self._step, settings.steps, settings.optimizer)
        factor = clip_factor(result.norm, settings.optimizer.clip)
        capped = self._move(result, lr, factor)
        self._accepted_norm = result.accepted_norm
        self._step += 1
        self._jr = jr.update(self._jr, settings.jacreg, result.r_T1, self._step)
        return {
            **result.metrics,
            "train/lr": lr,
            "train/grad_norm": result.norm,
            "train/clip_factor": factor,
            **capped,
        }

    def _move(self, result: StepGradient, lr: float, factor: float) -> dict[str, float]:
        """Without any gradient nothing moves."""
        if result.norm == 0:
            return {"train/capped": 0.0} if self._settings.weight_cap else {}
        capped = update_(
            self._params,
            self._ema,
            self._optimizer,
            result.gradient,
            self._settings,
            lr=lr,
            factor=factor,
            initial_norms=self._initial_norms,
        )
        return {} if capped is None else {"train/capped": float(capped)}

    def evaluate(self) -> Mapping[str, float]:
        """Losses of parameters and average on the validation sequences; the average's residual.

        Refined under `finite_T` too: how far the two losses are apart shows what the model made of its T1.
        """
        settings, (idx, y) = self._settings, self._validation
        policy = RelaxPolicy.of(settings, measure=True)
        now = measure.worth(self._params, settings, policy, idx, y, self._engine)
        average = measure.worth(self._ema, settings, policy, idx, y, self._engine)
        metrics: dict[str, float] = {
            "val/ce": now.ce,
            "val/ce_T1": now.ce_T1,
            "val/ce_refined": now.ce_refined,
            "val/ce_ema": average.ce,
            "residual/T1_ema": average.r_T1,
        }
        width = self._data.bytes_per_token("validation")
        if width is not None:
            metrics["val/bits_per_byte"] = now.ce / math.log(2) / width
        self._evaluated = self._step, metrics
        return metrics

    def evidence(self) -> Evidence:
        """Finiteness, residuals on one validation batch, spectra of parameters and average, val/ce."""
        settings, (idx, y) = self._settings, self._validation
        first = idx[: settings.batch], y[: settings.batch]
        policy = RelaxPolicy.of(settings, measure=True)
        finite = self._finite()
        metrics: dict[str, float] = {}
        if finite:
            state = measure.worth(self._params, settings, policy, *first, self._engine)
            metrics = {
                "residual/T1": state.r_T1,
                "residual/refined": math.nan if state.r_ref is None else state.r_ref,
                "residual/adjoint": measure.adjoint_residual(self._params, settings, *first),
                "val/ce": self._evaluation()["val/ce"],
                **self._spectra(),
            }
        return Evidence(finite=finite, metrics=metrics)

    def _evaluation(self) -> Mapping[str, float]:
        if self._evaluated is not None and self._evaluated[0] == self._step:
            return self._evaluated[1]
        return self.evaluate()

    def _spectra(self) -> dict[str, float]:
        """Re mu of parameters and average, at every k-th checkpoint."""
        checkpoint = self._step // self._settings.checkpoints.every
        if checkpoint % self._settings.spectrum.every:
            return {}
        return {
            name: measure.spectrum(params, self._settings, *self._validation).re_mu
            for name, params in (
                ("spectrum/max_re_mu", self._params),
                ("spectrum/max_re_mu_ema", self._ema),
            )
        }

    def _finite(self) -> bool:
        moments = snapshots.moments(self._optimizer, self._params).values()
        return all(bool(t.isfinite().all()) for t in (*self._params, *self._ema, *moments))

    def snapshot(self) -> Snapshot:
        return Snapshot(
            tensors={
                snapshots.MODEL: snapshots.named(self._params),
                snapshots.EMA: snapshots.named(self._ema),
                snapshots.OPTIMIZER: snapshots.moments(self._optimizer, self._params),
            },
            scalars={
                "identity": self._identity(),
                "settings": self._settings.model_dump(mode="json"),
                "text_sha256": self._data.text_hash,
                "step": self._step,
                "optimizer_step": self._optimizer_step(),
                "jr": self._jr.jr,
                "jr_log_residual": self._jr.log_residual,
                "accepted_norm": self._accepted_norm,
                "initial_norms": self._initial_norms,
            },
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Continue where ``snapshot`` was taken. Weights of penalties and rates are this run's own.

        Everything is checked before anything is taken over.
        """
        snapshots.check(snapshot, self._identity())
        snapshots.check_keys(snapshot)
        snapshots.check_tensors(snapshot, self._params)
        scalars = snapshot.scalars
        self._initial_norms = read_norms(scalars["initial_norms"])
        snapshots.take(snapshot, snapshots.MODEL, self._params)
        snapshots.take(snapshot, snapshots.EMA, self._ema)
        self._optimizer = adamw(self._params, self._settings)
        if scalars["optimizer_step"]:
            steps = float(scalars["optimizer_step"])
            snapshots.take_moments(snapshot, self._optimizer, self._params, steps)
        low, high = jr.limits(self._settings.jacreg)
        self._jr = jr.JrState(
            jr=min(max(float(scalars["jr"]), low), high), log_residual=scalars["jr_log_residual"]
        )
        self._accepted_norm = float(scalars["accepted_norm"])
        self._step = int(scalars["step"])
        self._evaluated = None

    def warm_start(self, snapshot: Snapshot) -> None:
        """Take the parameters; the average starts from them, everything else anew."""
        snapshots.check(snapshot, self._identity())
        snapshots.take(snapshot, snapshots.MODEL, self._params)
        self._ema = _copy(self._params)
        self._initial_norms = matrix_norms(self._params)
        self._evaluated = None

    def _identity(self) -> dict[str, Any]:
        return snapshots.identity(self._settings, self._data.vocabulary, self._data.tokenizer_hash)

    def _optimizer_step(self) -> int:
        state = self._optimizer.state.get(self._params.E)
        return int(state["step"]) if state else 0


def _copy(params: Params) -> Params:
    return Params(*(t.detach().clone() for t in params))
