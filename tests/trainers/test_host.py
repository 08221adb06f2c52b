from __future__ import annotations

import pytest
import torch

from trainers.host import OnItsWay, to_host


def test_numbers_of_every_real_type_arrive_as_floats_under_their_names() -> None:
    found = to_host(
        {
            "double": torch.tensor(1.5, dtype=torch.float64),
            "count": torch.tensor(3),
            "yes": torch.tensor(True),
            "here": 2,
            "half": torch.tensor(0.5, dtype=torch.bfloat16, requires_grad=True),
        }
    )
    assert found == {"double": 1.5, "count": 3.0, "yes": 1.0, "here": 2.0, "half": 0.5}
    assert all(type(value) is float for value in found.values())
    assert to_host({"here": 2}) == {"here": 2.0}


def _sent_and_overwritten(device: str) -> torch.Tensor:
    sent = torch.arange(1000.0, device=device)
    coming = OnItsWay(sent)
    sent.zero_()
    return coming.wait()


def test_what_is_on_its_way_arrives_as_it_was_when_it_set_out() -> None:
    assert torch.equal(_sent_and_overwritten("cpu"), torch.arange(1000.0))


@pytest.mark.gpu
def test_what_leaves_a_gpu_arrives_as_it_was_while_the_gpu_works_on() -> None:
    there = _sent_and_overwritten("cuda")
    assert there.device.type == "cpu"
    assert torch.equal(there, torch.arange(1000.0))
