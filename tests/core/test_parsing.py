"""Parsers of values in requests and on the command line."""

import pytest

from bridge.core.parsing import parse_choices, parse_duration, parse_name, parse_printable

COUNTS = (1, 2)


@pytest.mark.parametrize(("given", "found"), [("2", (2,)), ("2,1,2", (2, 1)), (["1"], (1,))])
def test_words_are_read_in_a_list_or_separated_by_commas(given: object, found: tuple[int, ...]) -> None:
    assert parse_choices(COUNTS, given) == found


@pytest.mark.parametrize("given", ["", "3", "1,", "1, 2", [], [1], None, {"1": 1}])
def test_what_is_none_of_the_words_is_told_with_all_of_them(given: object) -> None:
    with pytest.raises(ValueError, match="must be one or more of 1, 2, separated by commas"):
        parse_choices(COUNTS, given)


def test_a_name_can_stand_in_a_url() -> None:
    assert parse_name("cms-2.eu_x") == "cms-2.eu_x"
    for wrong in ("", "a b", "..", "a/b", "x" * 65):
        with pytest.raises(ValueError, match="must be a name of 1 to 64 letters"):
            parse_name(wrong)


def test_a_task_id_has_no_white_space() -> None:
    assert parse_printable("AAAAEZ6whGI") == "AAAAEZ6whGI"
    for wrong in ("", "a b", "a\n", "\x00"):
        with pytest.raises(ValueError, match="must have printable characters alone"):
            parse_printable(wrong)


def test_an_overlap_is_a_number_and_a_unit() -> None:
    assert [parse_duration(text) for text in ("90s", "15m", "24h", "7d")] == [90, 900, 86_400, 604_800]
    for wrong in ("", "1", "h", "1.5h", "-1h", "1w", "1234567s"):
        with pytest.raises(ValueError, match="must be a number and a unit"):
            parse_duration(wrong)
