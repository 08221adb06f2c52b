"""Mixing and embeddings: which tokens meet, and what is added to which."""

from __future__ import annotations

import torch

from tests.trainers.hope import small
from trainers.hope.mixing import SpatialMixing
from trainers.hope.model import Clips
from trainers.hope.titan import CONDITIONING

TOKENS, FRAMES, D = 4, 3, 6


def test_every_token_of_a_frame_is_mixed_with_every_other_and_none_of_another_frame() -> None:
    mixing = SpatialMixing(TOKENS).double()
    x = torch.randn(1, FRAMES * TOKENS, D, generator=torch.Generator().manual_seed(0)).double()
    for given in range(FRAMES * TOKENS):
        changed = x.clone()
        changed[:, given] += 1.0
        met = (mixing(changed) != mixing(x)).any(-1)[0]
        frame = torch.arange(FRAMES * TOKENS) // TOKENS == given // TOKENS
        assert torch.equal(met, frame)


def test_components_are_mixed_each_for_itself() -> None:
    mixing = SpatialMixing(TOKENS).double()
    x = torch.randn(1, TOKENS, D, generator=torch.Generator().manual_seed(0)).double()
    changed = x.clone()
    changed[..., 2] += 1.0
    met = (mixing(changed) != mixing(x)).any(1)[0]
    assert met.tolist() == [False, False, True, False, False, False]


def test_only_with_mixing_do_the_patches_of_a_frame_meet() -> None:
    for mixes in (False, True):
        model = small.trained(small.predictor(small.settings(spatial_mixing=mixes)))
        clips = small.batch().inputs().first(1)
        features = clips.features.clone()
        features[:, 0, 0] += torch.arange(small.FEATURES)
        other = Clips(features=features, actions=clips.actions, states=clips.states)
        met = (model(other).features != model(clips).features).any(-1)[0, 0]
        assert met[0]
        assert bool(met[1:].all()) is bool(met[1:].any()) is mixes


def test_action_and_state_come_first_and_every_token_gets_the_embeddings_of_frame_and_target() -> (
    None
):
    model = small.predictor(small.settings(temporal_embeddings=True))
    plain = small.predictor(small.settings())
    plain.load_state_dict(model.state_dict(), strict=False)
    clips = small.batch().inputs()
    frames = torch.arange(small.CONTEXT)
    assert model.frame_embedding is not None and model.target_embedding is not None
    F, G = model.frame_embedding.weight, model.target_embedding.weight
    assert F.shape == G.shape == (small.CONTEXT + 2, 12)
    added = model._tokens(clips, frames, None) - plain._tokens(clips, frames, None)
    by_frame = added.unflatten(1, (small.CONTEXT, -1))
    for t in range(small.CONTEXT):
        torch.testing.assert_close(by_frame[:, t], F[t].expand_as(by_frame[:, t]))
    first, tau = clips.first(1), torch.tensor([2, 4])
    added = model._tokens(first, frames[:1], tau) - plain._tokens(first, frames[:1], None)
    for sample, target in enumerate(tau):
        torch.testing.assert_close(added[sample], (F[0] + G[target]).expand_as(added[sample]))
    tokens = plain._tokens(clips, frames, None).unflatten(1, (small.CONTEXT, -1))
    torch.testing.assert_close(tokens[:, :, 0], plain.action_encoder(clips.actions))
    torch.testing.assert_close(tokens[:, :, 1], plain.state_encoder(clips.states))
    patches = plain.embed(plain.normalise(clips.features))
    torch.testing.assert_close(tokens[:, :, CONDITIONING:], patches)


def test_embeddings_begin_as_small_as_they_are_told() -> None:
    of = small.settings(temporal_embeddings=True, embedding_std=0.02, width=96)
    model = small.predictor(of)
    assert model.frame_embedding is not None and model.target_embedding is not None
    for table in (model.frame_embedding, model.target_embedding):
        assert 0.015 < float(table.weight.detach().std()) < 0.025
