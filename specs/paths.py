"""The dotted path inside a run: one grammar for ``--set`` and for the ``set:`` of a rollback.

``trainer.jacreg.weight`` names a field, ``watch.blow_up.tries`` a field of the rule ``blow_up``,
``resources.pin.0`` the first of a list. Where an existing key or rule has dots in its name, the
longest name that fits is taken. A value put at a path takes the place of what is there.
"""

from __future__ import annotations

from collections.abc import Container

from specs.errors import did_you_mean, one_of
from specs.merge import rule_name_of
from specs.tree import Entry, Items, Leaf, Node, Table

_LISTS = ("watch",)
"""What is a list of maps: below it no map is made."""


class BadPath(ValueError):
    """A path that leads nowhere: what was got, what is allowed and what may have been meant."""

    def __init__(self, *, got: str, allowed: str, hint: str = "") -> None:
        self.got, self.allowed, self.hint = got, allowed, hint
        super().__init__(f"got {got}: {allowed}")


def split_path(text: str) -> tuple[str, ...]:
    """The parts of a dotted path. Raises BadPath where one is empty."""
    parts = tuple(text.split("."))
    if not all(part.strip() for part in parts):
        raise BadPath(
            got=f"the path {text!r}",
            allowed="must be names with single dots between them, such as trainer.resreg",
        )
    return parts


def put(tree: Table, parts: tuple[str, ...], new: Entry) -> Table:
    """The tree with ``new`` at the path; maps on the way are made where there are none.

    Raises BadPath where the way is barred by a value or by the end of a list.
    """
    name, rest = longest(tree.entries, parts)
    if not rest:
        return tree.having(name, new)
    old = tree.entries.get(name)
    if old is None or (isinstance(old.value, Leaf) and old.value.value is None):
        if name in _LISTS:
            raise BadPath(
                got=f"`{rest[0]}` in `{name}`",
                allowed=f"`{name}` has no entries",
                hint=f"give it whole: {name}=[{{...}}]",
            )
        old = Entry(key=new.key, value=Table(place=new.key))
    return tree.having(name, Entry(key=old.key, value=_put_below(old.value, name, rest, new)))


def _put_below(node: Node, name: str, rest: tuple[str, ...], new: Entry) -> Node:
    if isinstance(node, Table):
        return put(node, rest, new)
    if isinstance(node, Items):
        return _put_in_list(node, name, rest, new)
    raise BadPath(
        got=f"`{'.'.join(rest)}` below `{name}`",
        allowed=f"`{name}` is a single value and has nothing below it",
    )


def _put_in_list(items: Items, name: str, parts: tuple[str, ...], new: Entry) -> Items:
    names = {rule: i for i, node in enumerate(items.items) if (rule := rule_name_of(node))}
    known = names or {str(i): i for i in range(len(items.items))}
    part, rest = longest(known, parts)
    if part not in known:
        what = "rules" if names else "entries"
        raise BadPath(
            got=f"`{part}` in `{name}`",
            allowed=one_of(known, part) if known else f"`{name}` has no {what}",
            hint=did_you_mean(part, known),
        )
    changed = list(items.items)
    changed[known[part]] = _put_below(changed[known[part]], part, rest, new) if rest else new.value
    return Items(place=items.place, items=tuple(changed))


def longest(known: Container[str], parts: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """The longest known name at the head of the path, else its first part; and what follows."""
    for length in range(len(parts), 0, -1):
        name = ".".join(parts[:length])
        if name in known:
            return name, parts[length:]
    return parts[0], parts[1:]
