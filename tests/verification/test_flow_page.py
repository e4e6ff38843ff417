"""docs/verification/flow.md is what the verification tests give; this file runs after all others."""

from __future__ import annotations

import pytest
from support.page import HEAD, ORDERS, PAGE, RENEW, VALUES, Page, Section, fixed, number, percent, split, whole

SECTION = Section(1, "A fall", "A stone falls.", "s = g t²/2", "the clock is read by eye.")


def test_what_the_page_has_is_what_the_tests_give(whole_page: Page, request: pytest.FixtureRequest) -> None:
    if whole_page.writes:
        # A page of only some tests is not written: this test fails, and then nothing is.
        assert whole(request.config)
        assert sorted(whole_page.told) == list(range(1, len(whole_page.told) + 1))
        return
    kept = split(PAGE.read_text(encoding="utf-8"))
    assert kept[""].strip() == HEAD.strip(), RENEW
    places = [int(heading.removeprefix("## ").partition(".")[0]) for heading in kept if heading]
    assert places == list(range(1, len(places) + 1)), RENEW
    for heading, section in kept.items():
        files = [part for part in section.split("`") if part.startswith("tests/")]
        assert not heading or files
        assert all((PAGE.parents[2] / file).is_file() for file in files), RENEW
    if not whole(request.config):
        return
    for told in whole_page.told.values():
        heading, files = told.section.heading(), told.files
        # Where only some of the files ran, only what they said can be held against the page.
        if all(f"`tests/verification/{name}`" in kept[heading] for name in files):
            assert kept[heading].strip() == told.text().strip(), RENEW


def test_a_row_that_is_not_on_the_page_fails() -> None:
    fresh = Page("", writes=True)
    fresh.value(SECTION, "from a tower", "s [m]", 19.6, 19.62, 0.01)
    fresh.order(SECTION, "from a tower", "s", [0.08, 0.02], 1.9, 2.1)
    text = fresh.text()
    row = "| from a tower | s [m] | 19.6 | 19.6 | 0.10 % | 1.0 % |"
    assert text.startswith(HEAD)
    assert f"{VALUES}\n{row}\n" in text
    assert f"{ORDERS}\n| from a tower | s | 8.0 %, 2.0 % | 2.00 | 1.9 to 2.1 |\n" in text
    kept = Page(text, writes=False)
    kept.value(SECTION, "from a tower", "s [m]", 19.6, 19.62, 0.01)
    with pytest.raises(AssertionError, match="does not have the row"):
        kept.value(SECTION, "from a tower", "s [m]", 19.7, 19.62, 0.01)
    with pytest.raises(AssertionError, match="is not"):
        kept.value(SECTION, "from a bridge", "s [m]", 19.0, 19.62, 0.01)
    with pytest.raises(AssertionError, match="order 2"):
        kept.order(SECTION, "from a bridge", "s", [0.08, 0.02], 2.1)


def test_no_digit_is_printed_that_could_flip() -> None:
    assert [number(x) for x in (1e-3, 0.25, -12.34, 99.96, 1234.0, 2.5e-7)] == [
        *("0.00100", "0.250", "-12.3", "100", "1.23e3", "2.50e-7"),
    ]
    assert [percent(x) for x in (1.58, 0.0996, 0.0012, 1e-4, 1e-10, 3.2e-6)] == [
        *("160 %", "10 %", "0.12 %", "0.010 %", "1e-10", "3.2e-6"),
    ]
    for print_ in (lambda: number(1.2350000001), lambda: percent(0.125, 1e-4), lambda: fixed(1.985, 2, 1e-4)):
        with pytest.raises(AssertionError, match="could flip"):
            print_()
