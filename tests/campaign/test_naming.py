"""Laws of names: a run is found by its name where that is clear, and never guessed."""

from __future__ import annotations

import pytest

from campaign.errors import ExitCode, NotFound
from campaign.naming import find_campaign, find_run

NAMES = [("night", "redx"), ("night", "twin"), ("day", "twin")]


@pytest.mark.parametrize(
    ("text", "run"),
    [
        ("redx", ("night", "redx")),
        ("night/redx", ("night", "redx")),
        ("day/twin", ("day", "twin")),
    ],
)
def test_a_run_is_found(text: str, run: tuple[str, str]) -> None:
    assert find_run(text, NAMES) == run


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("twin", ["night/twin", "day/twin"]),  # of two campaigns: both are named
        ("redy", ["did you mean night/redx?"]),
        ("nigth/redx", ["did you mean night/redx?"]),
        ("day/redx", []),
        ("zzzzzz", ["night/redx", "night/twin", "day/twin"]),
    ],
)
def test_what_is_not_clear_is_not_guessed(text: str, says: list[str]) -> None:
    with pytest.raises(NotFound) as error:
        find_run(text, NAMES)
    assert error.value.exit_code == ExitCode.NOT_FOUND
    assert all(part in str(error.value) for part in [text, *says])


def test_a_campaign_in_the_place_of_a_run_is_told_with_its_runs_alone() -> None:
    with pytest.raises(NotFound, match="night is a campaign, not a run") as error:
        find_run("night", NAMES)
    assert str(error.value).splitlines()[1:] == ["  night/redx", "  night/twin"]


def test_where_both_are_meant_both_are_named() -> None:
    with pytest.raises(NotFound, match=r"no campaign or run nigth\n  did you mean night\?"):
        find_run("nigth", NAMES, campaigns=["night", "day"])


def test_an_unknown_campaign_names_the_closest() -> None:
    with pytest.raises(NotFound, match="did you mean night"):
        find_campaign("nihgt", ["night", "day"])


def test_where_nothing_is_the_way_to_submit_is_named() -> None:
    with pytest.raises(NotFound, match="campaign submit FILE"):
        find_run("a", [])
