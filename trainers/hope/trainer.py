"""HOPE as a trainer: trainers.protocol.Trainer over the pure functions of this package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from specs.trainer_hope import HopeTrainer
from trainers.draws import generator
from trainers.hope import gradients, snapshots
from trainers.hope.blame import refuse_non_finite
from trainers.hope.compute.compiled import compile_
from trainers.hope.compute.step import products_on, step_for
from trainers.hope.continual import protocol, replay
from trainers.hope.continual.course import Course
from trainers.hope.continual.protocol import Phase
from trainers.hope.draws import Purpose, draws_of
from trainers.hope.examiner import Examiner
from trainers.hope.feed import ClipSource, Feed
from trainers.hope.groups import sizes
from trainers.hope.init import initialise
from trainers.hope.model import Predictor
from trainers.hope.optim.levels import HeldLevels
from trainers.hope.optim.optimisers import Optimisers, optimisers
from trainers.hope.schedule import factor
from trainers.host import to_host
from trainers.protocol import Evidence, Snapshot
from trainers.snapshots import check_entries, check_identity


def build(settings: HopeTrainer, source: ClipSource, *, device: torch.device) -> HopeTraining:
    """A trainer at step 0, its parameters drawn from the seed. float32 products stay float32 (no TF32)."""
    torch.set_float32_matmul_precision("highest")
    return HopeTraining(settings, source, device=device)


class HopeTraining:
    """A predictor, its optimisers and the clips of all phases, one training step at a time."""

    def __init__(self, settings: HopeTrainer, source: ClipSource, *, device: torch.device) -> None:
        self._settings = settings
        self._source = source
        self._device = device
        self._feed = Feed(source, settings, device)
        tasks = protocol.tasks_of(settings)
        clips = {task: len(source.train(task)) for task in tasks}
        self._phases = protocol.plan(settings, clips)
        self._model = self._new_model()
        self._batch_gradient = step_for(self._model, settings, device)
        self._examiner = Examiner(
            model=self._model, feed=self._feed, settings=settings, device=device
        )
        self._course = Course(settings)
        self._kept: dict[str, tuple[int, ...]] = {}
        self._step = 0
        self._new_optimisers()
        self._evaluated: tuple[int, Mapping[str, float]] | None = None

    def _new_model(self) -> Predictor:
        settings = self._settings
        model = Predictor(
            settings.model,
            grid=settings.data.grid,
            feature_width=settings.data.feature_width,
            context=settings.context,
        )
        initialise(model, settings.model, generator(settings.seed, 0, Purpose.INIT))
        model.to(self._device)
        if settings.compute.compile:
            compile_(model)
        return model

    def _new_optimisers(self) -> None:
        self._optimisers: Optimisers = optimisers(self._model, self._settings.optimizer)
        self._levels = HeldLevels(self._model, self._settings.model.cms)

    # ------------------------------------------------------------ cadence

    @property
    def step(self) -> int:
        return self._step

    @property
    def total_steps(self) -> int:
        return sum(phase.steps for phase in self._phases)

    @property
    def phase(self) -> str | None:
        return self._phase_done().name if len(self._phases) > 1 else None

    @property
    def evaluate_every(self) -> int:
        return self._unless_phase_ended(self._settings.validation.every)

    @property
    def checkpoint_every(self) -> int:
        return self._unless_phase_ended(self._settings.checkpoints.every)

    @property
    def log_every(self) -> int:
        return self._unless_phase_ended(self._settings.log_every)

    def _unless_phase_ended(self, every: int) -> int:
        """1, and so due at this very step, where a phase of a protocol has just ended."""
        return 1 if self._settings.continual and self._phase_ended() else every

    def _phase_ended(self) -> bool:
        return self._step > 0 and protocol.place(self._phases, self._step).at == 0

    # ------------------------------------------------------------ what is seen from outside

    @property
    def model(self) -> Predictor:
        return self._model

    @property
    def phases(self) -> tuple[Phase, ...]:
        return self._phases

    @property
    def course(self) -> Course:
        """What the protocol has measured so far."""
        return self._course

    @property
    def kept(self) -> Mapping[str, tuple[int, ...]]:
        """The replay buffer: clips by task."""
        return self._kept

    def describe(self) -> Mapping[str, Any]:
        settings = self._settings
        return {
            "trainer": "hope",
            "pattern": settings.model.pattern,
            "parameters": sizes(self._model),
            "optimizer": settings.optimizer.kind,
            "precision": settings.precision,
            "products": products_on(settings, self._device).value,
            "device": str(self._device),
            "threads": torch.get_num_threads(),
            "phases": {phase.name: f"{phase.steps} steps" for phase in self._phases},
            "data": dict(self._source.describe()),
        }

    # ------------------------------------------------------------ one step

    def advance(self) -> Mapping[str, float]:
        """One training step. Raises NonFinite, naming the tensors, where a number is not finite."""
        place = protocol.place(self._phases, self._step)
        phase = self._phases[place.phase]
        if place.at == 0 and place.phase > 0:
            self._begin_phase(place.phase)
        found = self._gradient(phase, place.phase, place.at)
        present = gradients.present(self._model)
        norms = gradients.norms(present, len(self._model.blocks))
        measured = to_host({**found, **norms.metrics(), "train/grad_norm": norms.total})
        refuse_non_finite(measured, self._step + 1, self._model, present)
        clip, norm = self._settings.optimizer.clip, measured["train/grad_norm"]
        clipped = min(1.0, clip / norm) if norm > 0 else 1.0
        lr = phase.lr * factor(place.at, phase.steps, self._settings.optimizer)
        gradients.scale_(list(present.values()), clipped)
        self._levels.gate(place.at, last=place.at + 1 == phase.steps)
        self._optimisers.step(lr)
        self._model.zero_grad(set_to_none=True)
        self._step += 1
        own = {"train/lr": lr, "train/clip_factor": clipped}
        if self._settings.continual:
            own["continual/phase"] = float(place.phase)
        return {**measured, **own}

    def _begin_phase(self, number: int) -> None:
        """What was learnt stays; what was remembered of gradients does not."""
        settings, before = self._settings, self._phases[number - 1]
        if settings.continual is not None:
            self._judge_phases()
            if protocol.replayed(settings):
                self._kept = replay.grown(
                    self._kept,
                    before.name,
                    [int(i) for i in self._source.train(before.name)],
                    settings.continual.replay.buffer,
                    generator(settings.seed, 0, Purpose.KEEP, index=number),
                )
        self._new_optimisers()

    def _gradient(self, phase: Phase, number: int, at: int) -> dict[str, Tensor]:
        """Leave the mean gradient of the step's batches in the parameters; the losses and what the memories did."""
        parts = self._settings.accumulate
        sums: dict[str, Tensor] = {}
        for part in range(parts):
            batch = self._feed.batch(phase, number, at, self._step, part, self._kept)
            drawn = draws_of(self._settings, len(batch.features), self._step, part, self._device)
            for name, value in self._batch_gradient(batch, drawn).items():
                sums[name] = sums[name] + value / parts if name in sums else value / parts
        return sums

    # ------------------------------------------------------------ measuring

    def evaluate(self) -> Mapping[str, float]:
        """Validation errors on the tasks of the phase; where one has just ended, those on all held-out clips too."""
        found = dict(self._validation())
        if self._settings.continual and self._phase_ended():
            found |= self._judge_phases()
        return found

    def _validation(self) -> Mapping[str, float]:
        if self._evaluated is None or self._evaluated[0] != self._step:
            self._evaluated = self._step, self._examiner.validation(self._phase_done().tasks)
        return self._evaluated[1]

    def _phase_done(self) -> Phase:
        """The phase of the newest step; before any, the first."""
        return self._phases[protocol.place(self._phases, max(0, self._step - 1)).phase]

    def _judge_phases(self) -> dict[str, float]:
        """The errors of the phase that has just ended on every task; judged once, then known."""
        done = protocol.ended(self._phases, self._step)
        if self._course.rows < done:
            self._course.add(self._examiner.held_out())
        return self._course.metrics(whole=done == len(self._phases))

    def evidence(self) -> Evidence:
        """Finiteness, the gradient on validation clips by block, the validation errors."""
        finite = self._finite()
        if not finite:
            return Evidence(finite=False, metrics={})
        gradient = self._examiner.gradient(self._phase_done().tasks)
        return Evidence(finite=True, metrics={**gradient, **self._validation()})

    def _finite(self) -> bool:
        state: Sequence[Tensor] = [
            *self._model.parameters(),
            *snapshots.optimiser_state(self._optimisers).values(),
            *self._levels.held.values(),
        ]
        return all(bool(t.isfinite().all()) for t in state)

    # ------------------------------------------------------------ state

    def snapshot(self) -> Snapshot:
        place = protocol.place(self._phases, self._step)
        return Snapshot(
            tensors={
                snapshots.MODEL: snapshots.named(self._model.named_parameters()),
                snapshots.OPTIMIZER: snapshots.optimiser_state(self._optimisers),
                snapshots.HELD: snapshots.named(self._levels.held.items()),
            },
            scalars={
                "identity": {**self._shape(), **self._training()},
                "settings": self._settings.model_dump(mode="json"),
                "clips_sha256": self._source.sha256,
                "step": self._step,
                "phase": place.phase,
                "phase_step": place.at,
                "replay": {task: list(clips) for task, clips in self._kept.items()},
                "matrix": self._course.as_json(),
            },
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Continue where ``snapshot`` was taken. Weights of losses and rates are this run's own.

        Everything is checked before anything is taken over.
        """
        check_identity(snapshot, {**self._shape(), **self._training()})
        check_entries(snapshot, snapshots.SCALARS)
        parameters = snapshots.parameters_of(snapshot, self._model)
        self._new_optimisers()
        state = snapshots.optimiser_state_of(snapshot, self._optimisers)
        held = snapshots.held_of(snapshot, self._model, self._levels.names())
        course = Course.of_json(self._settings, snapshot.scalars["matrix"])
        self._take(parameters)
        snapshots.take_optimiser_state(self._optimisers, state)
        self._levels.held = held
        self._course = course
        self._kept = {
            str(task): tuple(int(i) for i in clips)
            for task, clips in snapshot.scalars["replay"].items()
        }
        self._step = int(snapshot.scalars["step"])
        self._evaluated = None

    def warm_start(self, snapshot: Snapshot) -> None:
        """Take the parameters; everything else begins anew."""
        check_identity(snapshot, self._shape())
        self._take(snapshots.parameters_of(snapshot, self._model))
        self._evaluated = None

    def _take(self, parameters: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self._model.named_parameters():
                parameter.copy_(parameters[name])

    def _shape(self) -> dict[str, Any]:
        return snapshots.shape(self._settings)

    def _training(self) -> dict[str, Any]:
        return snapshots.training(self._settings, self._phases)
