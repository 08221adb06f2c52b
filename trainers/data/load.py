"""From the settings of the data to the data."""

from __future__ import annotations

from pathlib import Path

from platformdirs import user_cache_path

from specs.data import AnyData, TokenData
from trainers.data import text, tokens
from trainers.data.text import Text
from trainers.data.tokens import TokenFile


def load(settings: AnyData, seed: int, cache: Path) -> Text | TokenFile:
    """Open what ``settings`` names. Raises BadText where it cannot be trained on.

    ``cache`` keeps what byte-pair encoding makes of a text.
    """
    if isinstance(settings, TokenData):
        return tokens.load(settings, seed)
    return text.load(settings, seed, cache)


def default_cache() -> Path:
    """Where this user's tokenised texts are kept."""
    return user_cache_path("campaign") / "text"
