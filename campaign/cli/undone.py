"""What did not happen because a file or a setting is wrong: only the verb knows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from specs.errors import SpecErrors


@contextmanager
def undone(what: str) -> Iterator[None]:
    """SpecErrors that pass get the note ``what``, as in *nothing was submitted*."""
    try:
        yield
    except SpecErrors as errors:
        errors.add_note(what)
        raise


def closing(errors: SpecErrors) -> str:
    """The last line below the errors: how many, and what did not happen."""
    count = len(errors.errors)
    notes: list[str] = getattr(errors, "__notes__", [])  # there once one was added (PEP 678)
    return "; ".join([f"{count} error{'' if count == 1 else 's'}", *notes])
