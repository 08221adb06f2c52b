"""Builders of the specs tests: a text that must be refused, and what is said about it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from specs.errors import SpecError, SpecErrors
from specs.load import load_text

Refused = Callable[..., tuple[SpecError, ...]]


@pytest.fixture
def refused() -> Refused:
    """Loads a text that is wrong; what is wrong, in order."""

    def load_and_fail(text: str, **options: Any) -> tuple[SpecError, ...]:
        with pytest.raises(SpecErrors) as caught:
            load_text(text, name="c.yaml", **options)
        assert caught.value.exit_code == 3
        assert all(1 <= len(error.render().splitlines()) <= 3 for error in caught.value.errors)
        return caught.value.errors

    return load_and_fail


@pytest.fixture
def one(refused: Refused) -> Callable[..., SpecError]:
    """Likewise, where exactly one thing is wrong."""

    def load_and_fail_once(text: str, **options: Any) -> SpecError:
        errors = refused(text, **options)
        assert len(errors) == 1, "\n".join(error.render() for error in errors)
        return errors[0]

    return load_and_fail_once
