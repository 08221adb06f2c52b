"""The events of a YAML text, by ruamel.yaml's parser; what is no YAML, in words for people."""

from __future__ import annotations

from collections.abc import Iterator

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, StreamMark, YAMLError
from ruamel.yaml.events import Event


class BadYaml(Exception):
    """The text breaks the grammar at ``mark``; None where the parser does not say where."""

    def __init__(self, mark: StreamMark | None, *, got: str, allowed: str, hint: str = "") -> None:
        self.mark, self.got, self.allowed, self.hint = mark, got, allowed, hint
        super().__init__(f"got {got}: {allowed}")


def read_events(text: str) -> Iterator[Event]:
    """The events, one by one as they are parsed. Raises BadYaml."""
    try:
        yield from YAML(typ="safe", pure=True).parse(text)
    except MarkedYAMLError as error:
        raise _syntax(error) from error
    except (YAMLError, ValueError, OverflowError) as error:
        # the scanner hands an escape such as "\\UFFFFFFFF" to chr() unchecked
        raise BadYaml(None, got="what is no YAML", allowed=f"the reader says: {error}") from error


def _syntax(error: MarkedYAMLError) -> BadYaml:
    problem = str(error.problem or error.context or error)
    mark = error.problem_mark or error.context_mark
    if "'\\t'" in problem:
        return BadYaml(mark, got="a tab", allowed="must be spaces: YAML does not indent with tabs")
    context = f" {error.context}" if error.context else ""
    if error.context_mark is not None and error.context_mark is not mark:
        context += f" that begins in line {error.context_mark.line + 1}"
    return BadYaml(
        mark,
        got="what is no YAML",
        allowed=f"the reader says: {problem}{context}",
        hint="a text with : # { [ ] } , & * ! | > ' \" % @ ` in it is best written in quotes",
    )
