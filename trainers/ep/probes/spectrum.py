"""The spectrum of J at an equilibrium: does the free phase contract, and where would it first fail?

Exact: all eigenvalues of all self-blocks (``blocks``), or only the rightmost, proved (``rightmost``). ``arnoldi`` takes
the rightmost and compares it with matrix-free Arnoldi on J and on M = I + eps J, and J v with its finite difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from torch import Tensor

from trainers.ep.abscissa import extent
from trainers.ep.probes import Say
from trainers.ep.probes.arnoldi import Arnoldi, cross_check
from trainers.ep.probes.model import Model
from trainers.ep.probes.root import equilibrium
from trainers.ep.spectrum import Rightmost, eigenvalues, rightmost_of


class Method(StrEnum):
    BLOCKS = "blocks"
    RIGHTMOST = "rightmost"
    ARNOLDI = "arnoldi"


@dataclass(frozen=True, kw_only=True)
class Options:
    method: Method = Method.BLOCKS
    modes: int = 6  # eigenvalues that Arnoldi looks for on M


@dataclass(frozen=True, kw_only=True)
class SpectrumRow:
    """Eigenvalues mu of J over all sequences. ``g`` = ||F|| / ||z||, the largest of any sequence."""

    COLUMNS: ClassVar[tuple[str, ...]] = (
        "model", "state", "g", "max_re_mu", "im_mu", "sequence", "token", "rho", "eps_crit",
    )  # fmt: skip

    model: str
    state: str  # where J was taken: refined, newton, or "refined, no root found"
    is_root: bool
    g_refined: float
    g: float
    max_re_mu: float
    im_mu: float
    sequence: int
    token: int
    eps: float
    rho: float | None  # max |1 + eps mu|; None where only the rightmost was looked for
    eps_crit: float | None  # the smallest eps at which Euler fails; 0: at every eps
    decomposed: int  # self-blocks whose eigenvalues were computed
    blocks: int
    re_mu_by_token: tuple[
        tuple[float, ...], ...
    ]  # (sequence, token); empty unless all were computed
    arnoldi: Arnoldi | None
    eigenvalues: tuple[tuple[float, float], ...]  # the outermost of each token, for plots
    finding: str


def probe(model: Model, options: Options, say: Say) -> tuple[SpectrumRow, ...]:
    """One row for the model, at the refined state or the root nearest to it."""
    say(f"{model.name}: relaxing {model.sequences} sequence(s)")
    at = equilibrium(model)
    J = model.system.linearise(at.z)
    say(f"{model.name}: force residual {float(at.g.max()):.1e} ({at.origin}); eigenvalues")
    if options.method is Method.BLOCKS:
        mu = eigenvalues(J)
        worst, decomposed = rightmost_of(mu), mu.shape[0] * mu.shape[1]
    else:
        mu, found = None, extent(J)
        worst, decomposed = found.rightmost, found.decomposed
    arnoldi = None
    if options.method is Method.ARNOLDI:
        say(f"{model.name}: Arnoldi on sequence {worst.sequence}")
        arnoldi = cross_check(model, at.z, worst, options.modes)
    eps = model.eps
    return (
        SpectrumRow(
            model=model.name,
            state=at.origin,
            is_root=at.is_root,
            g_refined=float(at.g_refined.max()),
            g=float(at.g.max()),
            max_re_mu=worst.re_mu,
            im_mu=worst.im_mu,
            sequence=worst.sequence,
            token=worst.token,
            eps=eps,
            rho=None if mu is None else float((1 + eps * mu).abs().max()),
            eps_crit=None if mu is None else smallest_eps_crit(mu),
            decomposed=decomposed,
            blocks=model.idx.numel(),
            re_mu_by_token=() if mu is None else _by_token(mu),
            arnoldi=arnoldi,
            eigenvalues=() if mu is None else _outermost(mu),
            finding=_finding(worst, at.is_root, eps, mu) + _checked(arnoldi),
        ),
    )


def smallest_eps_crit(mu: Tensor) -> float:
    """The smallest eps > 0 with |1 + eps mu| = 1 for any mu = a + ib: -2a / (a^2 + b^2); 0 where some a >= 0."""
    if float(mu.real.max()) >= 0:
        return 0.0
    return float((-2 * mu.real / mu.abs().square()).min())


def _by_token(mu: Tensor) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in mu.real.amax(-1).tolist())


def _outermost(mu: Tensor, most: int = 20_000) -> tuple[tuple[float, float], ...]:
    """At most ``most`` eigenvalues: of each token the rightmost, the leftmost and the largest |Im| first."""
    flat = mu.flatten(0, 1)
    count = max(1, min(flat.shape[1], most // len(flat)))
    centre = flat.real.mean(-1, keepdim=True)
    order = (flat - centre).abs().argsort(-1, descending=True)[:, :count]
    kept = flat.gather(1, order).flatten()
    return tuple(zip(kept.real.tolist(), kept.imag.tolist(), strict=True))


def _finding(worst: Rightmost, is_root: bool, eps: float, mu: Tensor | None) -> str:
    if not is_root:
        return "not the spectrum of an equilibrium: no root was found from the refined state"
    where = f"token {worst.token} of sequence {worst.sequence}"
    if worst.re_mu > 0:
        kind = "Hopf" if worst.im_mu > 0 else "real"
        return f"unstable ({kind}) at {where}: no eps makes Euler converge"
    if mu is None:
        return f"stable; the rightmost is at {where}"
    crit = smallest_eps_crit(mu)
    if crit <= eps:
        return f"a stable equilibrium that Euler misses at eps {eps:g}: it needs eps < {crit:.3g}"
    return f"stable at eps {eps:g}; the rightmost is at {where}"


def _checked(arnoldi: Arnoldi | None) -> str:
    """What the checks say, behind the finding."""
    if arnoldi is None:
        return ""
    lost = "did not converge"
    on_J = lost if arnoldi.re_mu is None else f"finds Re mu {arnoldi.re_mu:.6g}"
    on_M = lost if arnoldi.rho is None else f"rho {arnoldi.rho:.6g}"
    return f"; Arnoldi {on_J} on J, {on_M} on M; J v and its finite difference differ by {arnoldi.fd_difference:.1e}"
