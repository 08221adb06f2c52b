"""A fixed random encoder of pictures, in the place of a trained video model.

    h = gelu(W1 tubelet + b)            a tubelet is a patch of two frames; W1 is smooth, and keen on change
    h' = S_m h                          channel groups m look ever farther around: itself, near, wide, all
    y = W2 h'
    z = LN((y - mean) / deviation + place)     mean by patch and channel, deviation by channel, of known pictures
    features = offset + gain z          a few channels lie far out, as trained encoders have them

All weights are drawn, and the pictures encoded, on the CPU by the seed, so that every device has the same ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as nnf

TUBELET = 2
"""Frames of a tubelet."""

COLOURS = 3
OUTLIER_SHARE = 0.4
"""Of the features' mean square, in the offsets of outlier channels."""

CHANNELS_AN_OUTLIER = 128
PLACE = 0.5
"""Deviation of what tells a patch's place, against 1 of what the pictures change."""

_REACH = (0.0, 0.15, 0.3, 0.6)  # of the picture's side: how far each group of channels looks
_GROUP_CHANNELS = 48
_ORDERS = 2  # spatial frequencies of a filter along a side of a patch
_FILTER_GAIN = 4.0
_CHANGE = 3.0  # weight of what differs between the two frames against what they share
_SPREAD = 0.25  # of the logarithm of gains
_FEWEST_DEVIATION = 1e-3  # of a channel that the known pictures hardly change


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """P patches of p x p pixels, E inner channels, F features."""

    first: Tensor  # (TUBELET * 3 * p * p, E)
    bias: Tensor  # (E,)
    mixing: Tensor  # (groups, P, P)
    second: Tensor  # (E, F)
    mean: Tensor  # (P, F)
    deviation: Tensor  # (F,)
    place: Tensor  # (P, F)
    offset: Tensor  # (F,)
    gain: Tensor  # (F,)
    grid: tuple[int, int]
    patch: int

    def to(self, device: torch.device) -> Encoder:
        """The same weights on a device."""
        tensors: dict[str, Any] = {
            field.name: value.to(device)
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return replace(self, **tensors)

    def __call__(self, pictures: Tensor) -> Tensor:
        """(N, 2 T, 3, H, W) of colours in [0, 1] -> features (N, T, P, F), float32."""
        changed = (self.raw(pictures) - self.mean) / self.deviation + self.place
        return self.offset + self.gain * nnf.layer_norm(changed, changed.shape[-1:])

    def raw(self, pictures: Tensor) -> Tensor:
        """Before calibration: y, (N, T, P, F)."""
        tubelets = self._tubelets(pictures)
        groups = nnf.gelu((tubelets - 0.5) @ self.first + self.bias)
        parts = groups.reshape(*groups.shape[:-1], len(self.mixing), -1)
        mixed = torch.einsum("mpq,ntqme->ntpme", self.mixing, parts).flatten(-2)
        # no second bend: how fast the puck goes, a small difference, could not be read off any more
        return mixed @ self.second

    def _tubelets(self, pictures: Tensor) -> Tensor:
        """(N, T, P, TUBELET * 3 * p * p)."""
        N, M = pictures.shape[:2]
        rows, columns = self.grid
        cut = pictures.reshape(
            N, M // TUBELET, TUBELET, COLOURS, rows, self.patch, columns, self.patch
        )
        return cut.permute(0, 1, 4, 6, 2, 3, 5, 7).flatten(4).flatten(2, 3)


def build(
    seed: int, grid: tuple[int, int], patch: int, width: int, std: float, known: Iterable[Tensor]
) -> Encoder:
    """Weights drawn by the seed and calibrated on ``known`` pictures, (N, 2 T, 3, H, W) a part.

    Over pictures like the known ones the features have the standard deviation ``std``, outlier channels included.
    """
    draws = np.random.Generator(np.random.Philox(key=seed))
    groups = len(_REACH)
    inner = groups * _GROUP_CHANNELS
    offset, gain = _outliers(draws, width, std)
    encoder = Encoder(
        first=_filters(draws, patch, inner // groups),
        bias=_normal(draws, (inner,), 0.5),
        mixing=_mixing(grid),
        second=_normal(draws, (inner, width), 1 / inner**0.5),
        mean=torch.zeros(()),
        deviation=torch.ones(()),
        place=_normal(draws, (grid[0] * grid[1], width), PLACE),
        offset=offset,
        gain=gain,
        grid=grid,
        patch=patch,
    )
    mean, deviation = _statistics(encoder.raw(pictures) for pictures in known)
    return replace(encoder, mean=mean, deviation=deviation.clamp_min(_FEWEST_DEVIATION))


def _statistics(parts: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean by patch and channel, and deviation about it by channel; summed in float64."""
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    for part in parts:
        y = part.flatten(0, 1).double()
        count, total, squares = count + len(y), total + y.sum(0), squares + y.square().sum(0)
    mean = total / count
    variance = (squares / count - mean.square()).mean(0)
    return mean.float(), variance.clamp_min(0).sqrt().float()


def _normal(draws: np.random.Generator, shape: tuple[int, ...], std: float) -> Tensor:
    return torch.from_numpy((std * draws.standard_normal(shape)).astype(np.float32))


def _filters(draws: np.random.Generator, patch: int, each: int) -> Tensor:
    """Smooth random filters of a tubelet, (TUBELET * 3 * p * p, groups * each).

    Groups that look beyond their patch do not see its mean colour: the average of that over a whole table would
    outweigh a small puck.
    """
    waves = [np.cos(np.pi * k * (np.arange(patch) + 0.5) / patch) for k in range(_ORDERS)]
    basis = np.stack([np.outer(a, b) / patch for a in waves for b in waves])
    filters = []
    for reach in _REACH:
        weights = draws.standard_normal((each, COLOURS, 2, len(basis)))
        weights[..., 0] *= not reach
        shared, change = np.moveaxis(weights @ basis.reshape(len(basis), -1), 2, 0)
        pair = np.stack((shared - _CHANGE * change, shared + _CHANGE * change), 1)
        filters.append(pair.reshape(each, -1).T)
    gain = _FILTER_GAIN / patch
    return torch.from_numpy((gain * np.concatenate(filters, 1)).astype(np.float32))


def _mixing(grid: tuple[int, int]) -> Tensor:
    """Averages over the patches around each, by Gaussians of growing reach; each row sums to 1."""
    rows, columns = np.meshgrid(*(np.arange(side) for side in grid), indexing="ij")
    places = np.stack((rows.ravel(), columns.ravel()), -1) / max(grid)
    apart = np.square(places[:, None] - places[None]).sum(-1)
    kernels = [
        np.exp(-apart / (2 * reach**2)) if reach else np.eye(len(places)) for reach in _REACH
    ]
    normed = [kernel / kernel.sum(-1, keepdims=True) for kernel in kernels]
    return torch.from_numpy(np.stack(normed).astype(np.float32))


def _outliers(draws: np.random.Generator, width: int, std: float) -> tuple[Tensor, Tensor]:
    """Offsets, nonzero in a few channels, and gains, which together give the mean square ``std`` squared."""
    count = max(1, width // CHANNELS_AN_OUTLIER)
    where = draws.permutation(width)[:count]
    offset = np.zeros(width)
    offset[where] = draws.choice((-1.0, 1.0), count) * draws.uniform(0.8, 1.2, count)
    gain = np.exp(_SPREAD * draws.standard_normal(width))
    offset *= std * np.sqrt(OUTLIER_SHARE / np.square(offset).mean())
    # the variance about the overall mean, which the signs of the offsets leave
    rest = std**2 - np.square(offset).mean() + offset.mean() ** 2
    gain *= np.sqrt(rest / np.square(gain).mean())
    return torch.from_numpy(offset.astype(np.float32)), torch.from_numpy(gain.astype(np.float32))
