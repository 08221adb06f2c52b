"""A campaign file as a tree in which every value and every key knows where it was written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from specs.errors import Place

Scalar = str | int | float | bool | None
Plain = Scalar | list["Plain"] | dict[str, "Plain"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Leaf:
    value: Scalar
    place: Place


@dataclass(frozen=True, kw_only=True, slots=True)
class Items:
    """A list."""

    items: tuple[Node, ...]
    place: Place


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    key: Place
    value: Node


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A map."""

    place: Place
    entries: Mapping[str, Entry] = field(default_factory=dict)

    def get(self, *path: str) -> Node | None:
        """The value at a path of keys; None where there is none."""
        node: Node = self
        for key in path:
            if not isinstance(node, Table) or key not in node.entries:
                return None
            node = node.entries[key].value
        return node

    def table(self, *path: str) -> Table:
        """The map at a path of keys; an empty one where there is none."""
        node = self.get(*path)
        return node if isinstance(node, Table) else Table(place=self.place)

    def text(self, *path: str) -> str | None:
        """The text at a path of keys; None where there is none, or no text."""
        node = self.get(*path)
        return node.value if isinstance(node, Leaf) and isinstance(node.value, str) else None

    def without(self, key: str) -> Table:
        """The map with one key less."""
        rest = {name: entry for name, entry in self.entries.items() if name != key}
        return Table(place=self.place, entries=rest)

    def having(self, key: str, entry: Entry) -> Table:
        """This map with one entry set."""
        return Table(place=self.place, entries={**self.entries, key: entry})


Node = Leaf | Items | Table


def plain(node: Node) -> Plain:
    """The bare value."""
    if isinstance(node, Leaf):
        return node.value
    if isinstance(node, Items):
        return [plain(item) for item in node.items]
    return {key: plain(entry.value) for key, entry in node.entries.items()}


def tree_of(value: object, place: Place) -> Node:
    """A bare value as a tree whose every part lies at ``place``.

    Raises TypeError for what JSON does not have.
    """
    if value is None or isinstance(value, (str, int, float, bool)):
        return Leaf(value=value, place=place)
    if isinstance(value, Mapping):
        return table_of(value, place)
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        return Items(items=tuple(tree_of(item, place) for item in value), place=place)
    raise TypeError("must be text, a number, true, false, null, a list or a map")


def table_of(value: Mapping[Any, object], place: Place) -> Table:
    """A bare map as a tree; likewise."""
    if not all(isinstance(key, str) for key in value):
        raise TypeError("the keys of a map must be text")
    entries = {key: Entry(key=place, value=tree_of(item, place)) for key, item in value.items()}
    return Table(place=place, entries=entries)
