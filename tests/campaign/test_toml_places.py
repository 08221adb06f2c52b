"""Laws of finding a key in a TOML file."""

from __future__ import annotations

import tomllib

import pytest

from campaign.toml_places import line_of, place_in

TEXT = """\
# a comment
top = 1
[gpus]
exclude = [
  1,
]
  quiet= "3s"
[ ray ]
"address" = 'x'
mlflow.tracking_uri = "y"
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("top",), 2),
        (("gpus",), 3),
        (("gpus", "exclude", 0, "int"), 4),
        (("gpus", "quiet"), 7),
        (("gpus", "unknown"), 3),
        (("ray", "address"), 9),
        (("ray", "mlflow", "tracking_uri"), 10),
        (("notify",), None),
    ],
)
def test_a_key_is_found_on_its_line_or_its_table_on_that(
    path: tuple[int | str, ...], line: int | None
) -> None:
    assert line_of(TEXT, path) == line


@pytest.mark.parametrize(
    ("text", "place"), [("[gpus\n", ":1:6"), ("a = 1\nb ==2\n", ":2:4"), ("\n\na = ", ":3")]
)
def test_a_slip_of_syntax_has_its_line(text: str, place: str) -> None:
    with pytest.raises(tomllib.TOMLDecodeError) as caught:
        tomllib.loads(text)
    assert place_in(str(caught.value), text) == place
