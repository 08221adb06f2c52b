from __future__ import annotations

from specs.trainer_ep import EpTrainer
from tests.bench.ep_rescue import with_hinge


def test_a_rescue_changes_the_defence_and_the_gate_alone() -> None:
    old = EpTrainer.model_validate(
        {
            "kind": "ep",
            "width": 32,
            "heads": 2,
            "resreg": 0.2,
            "jacreg": {"weight": 0.1, "floor": 0.1, "max": 0.1},
            "adjoint": {"max_steps": 7, "gate": 1e9},
        }
    )
    new = with_hinge(old, 0.3)
    assert (new.hinge.ratio, new.hinge.margin, new.adjoint.gate) == (0.3, 0.5, 1.0)
    assert (new.resreg, new.jacreg.weight, new.jacreg.max) == (0.0, 0.0, None)
    kept = {"adjoint": new.adjoint, "hinge": new.hinge, "resreg": 0.0, "jacreg": new.jacreg}
    assert new == old.model_copy(update=kept)
    assert new.adjoint == old.adjoint.model_copy(update={"gate": 1.0})
