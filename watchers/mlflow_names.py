"""Names that MLflow refuses, as names that it takes, and back. Pure.

MLflow takes letters, digits and ``_ - . : space`` (``/`` between), at most 250 characters, and only
names that stay the same when read as a path and do not begin with ``..`` (`mlflow.utils.validation` of
3.17). Whatever it takes stays as it is, unless it looks escaped. Of any other name each run of refused characters becomes ``:HEX:``, the upper-case hex of its
UTF-8 bytes, as percent-encoding would do it: ``acc@5`` is ``acc:40:5``. An empty part of a path is
``::``. What is then still too long keeps its beginning and ends in ``::long-SHA256``; the whole of it
goes into tags of the run (`long_name_tags`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

LONGEST_KEY = 250
TAG_CHUNK = 5000
NAME_TAG = "campaign.name"

_REFUSED = re.compile(r"[^\w.\- ]+")
_REFUSED_AT_START = re.compile(r"\A\.\.[^\w.\- ]*|[^\w.\- ]+")
_ESCAPED = re.compile(r":((?:[0-9A-F]{2})*):")
_SHORTENED = re.compile(r"::long-([0-9a-f]{64})\Z")
_TAKEN = re.compile(r"[\w.\- :]+(?:/[\w.\- :]+)*")
_DOTS = frozenset({".", ".."})


def to_mlflow(name: str) -> str:
    """The key under which MLflow keeps ``name``. No two names have the same key."""
    key = _escape(name)
    if len(key) <= LONGEST_KEY:
        return key
    ending = f"::long-{_digest(key)}"
    return key[: LONGEST_KEY - len(ending)] + ending


def from_mlflow(key: str, tags: Mapping[str, str]) -> str:
    """The name that `to_mlflow` made ``key`` of; ``tags``: of the run, for names that were too long.

    Raises KeyError if the tag of a shortened name is missing.
    """
    if match := _SHORTENED.search(key):
        return _unescape(_joined(match[1], tags))
    return _unescape(key)


def long_name_tags(name: str) -> dict[str, str]:
    """The tags that keep ``name`` whole; empty if its key does."""
    key = _escape(name)
    if len(key) <= LONGEST_KEY:
        return {}
    chunks = (key[at : at + TAG_CHUNK] for at in range(0, len(key), TAG_CHUNK))
    return {_tag(_digest(key), number): chunk for number, chunk in enumerate(chunks)}


def _escape(name: str) -> str:
    first, *rest = parts = name.split("/")
    taken = _TAKEN.fullmatch(name) and not name.startswith("..") and not _DOTS & set(parts)
    if taken and not _ESCAPED.search(name):
        return name
    return "/".join([_part(first, _REFUSED_AT_START), *(_part(part, _REFUSED) for part in rest)])


def _part(part: str, refused: re.Pattern[str]) -> str:
    if not part:
        return "::"
    if part in _DOTS:
        return _hex(part)
    return refused.sub(lambda match: _hex(match[0]), part)


def _hex(text: str) -> str:
    return f":{text.encode('utf-8', 'surrogatepass').hex().upper()}:"


def _unescape(key: str) -> str:
    return _ESCAPED.sub(lambda m: bytes.fromhex(m[1]).decode("utf-8", "surrogatepass"), key)


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _tag(digest: str, number: int) -> str:
    return f"{NAME_TAG}.{digest}.{number}"


def _joined(digest: str, tags: Mapping[str, str]) -> str:
    chunks = [tags[_tag(digest, 0)]]
    while (more := tags.get(_tag(digest, len(chunks)))) is not None:
        chunks.append(more)
    return "".join(chunks)
