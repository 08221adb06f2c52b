"""YAML text as a tree with positions, refusing what a campaign file has no use for.

ruamel.yaml supplies the events; the tree is built here, without recursion, so that the limits on
nesting and on what aliases expand to hold before anything is expanded.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ruamel.yaml.error import StreamMark
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from specs.errors import Place, SpecError, SpecErrors, at, show
from specs.events import BadYaml, read_events
from specs.scalars import BadScalar, bad_character, resolve
from specs.tree import Entry, Items, Leaf, Node, Scalar, Table

DEEPEST = 50
MOST_NODES = 100_000
_TAG = "tag:yaml.org,2002:"
_TAGGED: dict[str, type] = {"int": int, "float": float, "bool": bool, "null": type(None)}


def compose(text: str, source: str, *, path: tuple[str | int, ...] | None = None) -> Composed:
    """The tree of one YAML document.

    With ``path`` the text is the value of an option: its places carry that path and no line.
    Raises SpecErrors where the text has no tree (syntax, nesting, aliases, several documents).
    """
    composer = _Composer(source=source, option=path)
    try:
        for event in read_events(text):
            composer.take(event)
    except BadYaml as bad:
        composer.stack.clear()
        raise composer.stop(
            bad.mark or composer.mark, got=bad.got, allowed=bad.allowed, hint=bad.hint
        ) from bad
    return Composed(root=composer.root, errors=tuple(composer.errors))


@dataclass(frozen=True, kw_only=True)
class Composed:
    """``root`` is None where the text held no value; ``errors`` are those that left a tree."""

    root: Node | None
    errors: tuple[SpecError, ...]


@dataclass(kw_only=True)
class _Frame:
    """A list or map under construction; ``key`` is the key whose value comes next."""

    place: Place
    path: tuple[str | int, ...]
    anchor: str | None
    is_map: bool
    items: list[Node] = field(default_factory=list)
    entries: dict[str, Entry] = field(default_factory=dict)
    at_value: bool = False
    key: str | None = None
    key_place: Place | None = None
    size: int = 1
    height: int = 1


@dataclass(frozen=True, kw_only=True)
class _Measured:
    """A node, how many nodes it expands to and how deep it is."""

    node: Node
    size: int = 1
    height: int = 0


@dataclass(kw_only=True)
class _Composer:
    source: str
    option: tuple[str | int, ...] | None
    root: Node | None = None
    errors: list[SpecError] = field(default_factory=list)
    stack: list[_Frame] = field(default_factory=list)
    anchors: dict[str, _Measured | None] = field(default_factory=dict)
    documents: int = 0
    mark: StreamMark | None = None

    def take(self, event: Event) -> None:
        self.mark = event.start_mark
        if isinstance(event, DocumentStartEvent):
            self._document(event)
        elif isinstance(event, (MappingStartEvent, SequenceStartEvent)):
            self._open(event)
        elif isinstance(event, (MappingEndEvent, SequenceEndEvent)):
            self._close()
        elif isinstance(event, ScalarEvent):
            self._scalar(event)
        elif isinstance(event, AliasEvent):
            self._alias(event)

    def place(self, mark: StreamMark | None) -> Place:
        path = self._path()
        if self.option is not None or mark is None:
            return Place(source=self.source, path=path)
        return Place(source=self.source, line=mark.line + 1, column=mark.column + 1, path=path)

    def stop(
        self, mark: StreamMark | None, *, got: str, allowed: str, hint: str = ""
    ) -> SpecErrors:
        error = at(self.place(mark), got=got, allowed=allowed, hint=hint)
        return SpecErrors([*self.errors, error])

    def _path(self) -> tuple[str | int, ...]:
        if not self.stack:
            return self.option or ()
        frame = self.stack[-1]
        if not frame.is_map:
            return (*frame.path, len(frame.items))
        return (*frame.path, frame.key) if frame.at_value and frame.key else frame.path

    def _blame(self, place: Place, *, got: str, allowed: str, hint: str = "") -> None:
        self.errors.append(at(place, got=got, allowed=allowed, hint=hint))

    def _document(self, event: DocumentStartEvent) -> None:
        self.documents += 1
        if self.documents > 1:
            raise self.stop(
                event.start_mark,
                got="a second document",
                allowed="must be one YAML document",
                hint="leave the --- or ... out, or make two files",
            )
        if event.version not in (None, (1, 2)):
            raise self.stop(
                event.start_mark,
                got=f"the directive %YAML {'.'.join(str(part) for part in event.version)}",
                allowed="must be YAML 1.2, which needs no directive",
            )

    def _open(self, event: MappingStartEvent | SequenceStartEvent) -> None:
        place = self.place(event.start_mark)
        if len(self.stack) >= DEEPEST:
            self.stack.clear()
            raise self.stop(
                event.start_mark,
                got=f"a value {DEEPEST + 1} levels deep",
                allowed=f"must be nested at most {DEEPEST} levels deep",
            )
        is_map = isinstance(event, MappingStartEvent)
        self._check_tag(event.tag, place, "map" if is_map else "seq")
        if event.anchor is not None:
            self.anchors[event.anchor] = None
        self.stack.append(_Frame(place=place, path=place.path, anchor=event.anchor, is_map=is_map))

    def _close(self) -> None:
        frame = self.stack.pop()
        node: Node
        if frame.is_map:
            node = Table(place=frame.place, entries=frame.entries)
        else:
            node = Items(place=frame.place, items=tuple(frame.items))
        self._add(_Measured(node=node, size=frame.size, height=frame.height), frame.anchor)

    def _scalar(self, event: ScalarEvent) -> None:
        place = self._scalar_place(event)
        known = len(self.errors)
        leaf = Leaf(value=self._value(event, place), place=place)
        is_key = bool(self.stack) and self.stack[-1].is_map and not self.stack[-1].at_value
        if is_key and event.value == "<<" and event.implicit[0]:
            self._blame(
                place,
                got="the merge key <<",
                allowed="YAML 1.2 has no merge keys",
                hint="put what runs share into `defaults` or a profile",
            )
        if is_key and len(self.errors) > known:
            self._skip_value()
        else:
            self._add(_Measured(node=leaf), event.anchor)

    def _scalar_place(self, event: ScalarEvent) -> Place:
        frame = self.stack[-1] if self.stack else None
        if event.value == "" and event.implicit[0] and frame and frame.at_value and frame.key_place:
            return frame.key_place  # nothing was written: the reader is somewhere further down
        return self.place(event.start_mark)

    def _value(self, event: ScalarEvent, place: Place) -> Scalar:
        word: str = event.value
        if bad := bad_character(word):
            self._blame(place, got=f"{bad[1]} in a text", allowed="must be printable text")
            return ""
        kind = self._check_tag(event.tag, place, "str", *_TAGGED)
        if kind == "str" or (kind is None and not event.implicit[0]):
            return word
        try:
            value = resolve(word)
        except BadScalar as error:
            self._blame(place, got=show(word), allowed=str(error))
            return 0
        if kind is not None and type(value) is not _TAGGED[kind]:
            self._blame(place, got=show(word), allowed=f"must be what its tag !!{kind} says")
        return value

    def _alias(self, event: AliasEvent) -> None:
        name = event.anchor
        if name not in self.anchors:
            raise self.stop(
                event.start_mark,
                got=f"the alias *{name}",
                allowed=f"there is no anchor &{name} above it",
                hint="a text that begins with * is written in quotes",
            )
        target = self.anchors[name]
        if target is None:
            raise self.stop(
                event.start_mark,
                got=f"the alias *{name} inside the anchor &{name}",
                allowed="must not contain itself",
            )
        if len(self.stack) + target.height > DEEPEST:
            raise self.stop(
                event.start_mark,
                got=f"the alias *{name}, which nests more than {DEEPEST} levels deep",
                allowed=f"must be nested at most {DEEPEST} levels deep",
            )
        self._add(target, None)

    def _add(self, part: _Measured, anchor: str | None) -> None:
        if anchor is not None:
            self.anchors[anchor] = part
        if not self.stack:
            self.root = part.node
            return
        frame = self.stack[-1]
        frame.size += part.size
        frame.height = max(frame.height, part.height + 1)
        if frame.size > MOST_NODES:
            raise self.stop(
                self.mark,
                got=f"aliases that expand to more than {MOST_NODES} values",
                allowed=f"must expand to at most {MOST_NODES} values",
            )
        if not frame.is_map:
            frame.items.append(part.node)
        elif not frame.at_value:
            self._key(frame, part.node)
        else:
            if frame.key is not None and frame.key_place is not None:
                frame.entries[frame.key] = Entry(key=frame.key_place, value=part.node)
            frame.at_value = False

    def _key(self, frame: _Frame, node: Node) -> None:
        key = node.value if isinstance(node, Leaf) else None
        if not isinstance(key, str):
            got = show(key) if isinstance(node, Leaf) else "a list or map"
            self._blame(
                node.place,
                got=f"the key {got}",
                allowed="must be text",
                hint="write it in quotes" if isinstance(node, Leaf) else "",
            )
            self._skip_value()
        elif key in frame.entries:
            first = frame.entries[key].key
            self._blame(
                node.place,
                got=f"the key {show(key)} again",
                allowed="must be there once"
                + (f"; it is in line {first.line} already" if first.line else ""),
            )
            self._skip_value()
        else:
            frame.at_value, frame.key = True, key
            frame.key_place = Place(
                source=node.place.source,
                line=node.place.line,
                column=node.place.column,
                path=(*frame.path, key),
            )

    def _skip_value(self) -> None:
        frame = self.stack[-1]
        frame.at_value, frame.key, frame.key_place = True, None, None

    def _check_tag(self, tag: str | None, place: Place, *known: str) -> str | None:
        if tag is None:
            return None
        name = tag.removeprefix(_TAG)
        if tag.startswith(_TAG) and name in known:
            return name
        shown = f"!!{name}" if tag.startswith(_TAG) else tag
        self._blame(
            place,
            got=f"the tag {shown}",
            allowed="must be plain text, numbers, true, false, null, lists and maps",
            hint="leave the tag out",
        )
        return None
