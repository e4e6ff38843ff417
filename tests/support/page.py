"""The page that the verification tests write: docs/verification/flow.md.

A test hands what it computed to the fixture `page`, which holds it against what is allowed and against the page that
is kept in the repository. With `--page` the page is written instead; `make page` does that. No digit is printed that
could differ between machines or numbers of ranks: where one might, the test fails, and prints a bound instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import log2
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "verification" / "flow.md"

RENEW = "`make page` writes it anew"

HEAD = """\
# Interstitial flow: what is verified, and how well

This page is written by the tests (`make page`), and a test fails where it is not what they find, on one rank or on
two. It holds no digit that differs between them.

    ∇·v = Jv - Jl + Q,   v = -K ∇p,   Jv = A (pe - p),   Jl = L (p - pL)

p pressure [Pa], v Darcy velocity [mm/s], K hydraulic conductivity [mm²/(Pa s)], A = Lp S/V what vessels give
[1/(Pa s)], pe the pressure at which they stop leaking, L and pL those of the lymph, Q a source [1/s]. 1/α = √(K/A) is
the thickness of the layer at a surface in which the pressure falls, h the length of an edge. An error without a name
is relative to the exact value; "order" is the logarithm to base 2 of the ratio of the last two errors, at halved h.
"""

FLIP = 1e-6
"""Relative change of a value that must not change what is printed of it."""

FLIP_OF_ERRORS = 1e-4
"""The same for errors, which are small differences of values."""

FLIP_OF_ORDERS = 2e-5
"""The same for orders, which are logarithms of errors that are not small."""


@dataclass(frozen=True)
class Section:
    """One thing that is verified.

    Attributes:
        place: On the page.
        title: Its name.
        solved: What is solved, in a sentence or two.
        formula: What it is compared with; lines.
        tolerance: Why the error may be as large as it may.
    """

    place: int
    title: str
    solved: str
    formula: str
    tolerance: str

    def heading(self) -> str:
        """Return the line that begins it."""
        return f"## {self.place}. {self.title}"

    def opening(self, test: str) -> str:
        """Return what stands before the tables."""
        lines = [self.heading(), "", self.solved, ""]
        lines += [f"    {line}".rstrip() for line in self.formula.strip("\n").splitlines()]
        return "\n".join([*lines, "", f"Allowed: {self.tolerance} Tests: `tests/verification/{test}`.", ""])


VALUES = "| case | what | computed | exact | error | allowed |\n|---|---|---|---|---|---|"
ORDERS = "| case | what | errors at h, h/2, ... | order | expected |\n|---|---|---|---|---|"


@dataclass
class Told:
    """What the tests of this session said of one section."""

    section: Section
    files: set[str] = field(default_factory=set)
    values: list[str] = field(default_factory=list)
    orders: list[str] = field(default_factory=list)

    def text(self) -> str:
        """Return the section as it stands on the page."""
        tables = [(head, rows) for head, rows in ((VALUES, self.values), (ORDERS, self.orders)) if rows]
        opening = self.section.opening("`, `tests/verification/".join(sorted(self.files)))
        return "\n".join([opening, *("\n".join([head, *rows, ""]) for head, rows in tables)])


class Page:
    """What the tests of this session said, and the page as it is kept."""

    def __init__(self, kept: str, *, writes: bool) -> None:
        self.kept = split(kept)
        self.writes = writes
        self.told: dict[int, Told] = {}
        self.file = ""

    def value(
        self,
        section: Section,
        case: str,
        what: str,
        computed: float,
        exact: float,
        allowed: float,
        *,
        of: tuple[float, str] | None = None,
    ) -> None:
        """Assert that a number is right, and put it on the page.

        Args:
            section: Where it belongs.
            case: Which case was solved.
            what: The number, with its unit.
            computed: What was found.
            exact: What the formula says.
            allowed: Largest error.
            of: What the error is relative to, with its name, if that is not the exact value.
        """
        scale, name = (abs(exact), "") if of is None else (of[0], f" of {of[1]}")
        error = abs(computed - exact) / scale
        assert error <= allowed, f"{case}, {what}: {computed!r} is not {exact!r}"
        cells = [case, what, number(computed), number(exact), share(error, allowed) + name, percent(allowed)]
        self._add(section, "values", f"| {' | '.join(cells)} |")

    def error(self, section: Section, case: str, what: str, error: float, allowed: float, *, of: str = "") -> None:
        """Assert that the largest of many errors is small enough, and put it on the page.

        Args:
            section: Where it belongs.
            case: Which case was solved.
            what: Whose error.
            error: Already relative.
            allowed: Largest error.
            of: The name of what it is relative to.
        """
        assert error <= allowed, f"{case}, {what}: the error is {error!r}, allowed is {allowed}"
        name = f" of {of}" if of else ""
        self._add(section, "values", f"| {case} | {what} |  |  | {share(error, allowed)}{name} | {percent(allowed)} |")

    def compared(self, section: Section, case: str, what: str, error: float, least: float) -> None:
        """Assert that the error of another method is at least so large, and put it on the page."""
        assert error >= least, f"{case}, {what}: the error is {error!r}, expected at least {least}"
        cells = [case, what, "", "", percent(error, FLIP_OF_ERRORS), f"at least {percent(least)}, to compare"]
        self._add(section, "values", f"| {' | '.join(cells)} |")

    def order(
        self, section: Section, case: str, what: str, errors: Sequence[float], least: float, most: float | None = None
    ) -> None:
        """Assert the order of convergence between the last two of some errors, and put it on the page.

        Args:
            section: Where it belongs.
            case: Which case was solved.
            what: Whose error.
            errors: Already relative, at halved widths.
            least: Smallest order.
            most: Largest order, if any: an order that is too high says that the errors are not of the method.
        """
        order = log2(errors[-2] / errors[-1])
        assert least <= order <= (order if most is None else most), f"{case}, {what}: order {order} of {list(errors)}"
        expected = f"at least {least:g}" if most is None else f"{least:g} to {most:g}"
        texts = ", ".join(percent(error, FLIP_OF_ERRORS) for error in errors)
        self._add(section, "orders", f"| {case} | {what} | {texts} | {fixed(order, 2, FLIP_OF_ORDERS)} | {expected} |")

    def _add(self, section: Section, table: str, row: str) -> None:
        """Take a row, and hold it against the page unless that is being written."""
        told = self.told.setdefault(section.place, Told(section))
        assert told.section == section, f"two sections have the place {section.place}"
        told.files.add(self.file)
        rows = getattr(told, table)
        assert row not in rows, f"said twice: {row}"
        rows.append(row)
        if not self.writes:
            kept = self.kept.get(section.heading(), "")
            assert row in kept.splitlines(), f"{PAGE.name} does not have the row that this test gives:\n{row}\n{RENEW}"

    def text(self) -> str:
        """Return the page that the tests of this session give."""
        return "\n".join([HEAD, *(self.told[place].text() for place in sorted(self.told))])


def split(page: str) -> dict[str, str]:
    """Return the sections of a page by their headings, the part before them by ""."""
    found: dict[str, list[str]] = {"": []}
    heading = ""
    for line in page.splitlines(keepends=True):
        if line.startswith("## "):
            heading = line.rstrip()
            found[heading] = []
        found[heading].append(line)
    return {name: "".join(lines) for name, lines in found.items()}


def _steady(text: str, ends: tuple[str, str], value: float) -> str:
    assert ends == (text, text), f"the last digit printed of {value!r} could flip; print a bound, or change the case"
    return text


def number(value: float) -> str:
    """Return three digits of a number."""

    def three(x: float) -> str:
        mantissa, _, exponent = f"{x:.2e}".partition("e")
        plain = f"{float(f'{x:.2e}'):.{max(2 - int(exponent), 0)}f}"
        return plain if -4 < int(exponent) < 3 else f"{mantissa}e{int(exponent)}"

    return _steady(three(value), (three(value * (1 - FLIP)), three(value * (1 + FLIP))), value)


def short(value: float, digits: int = 3) -> str:
    """Return a number as one writes it in the name of a case."""
    mantissa, e, exponent = f"{value:.{digits}g}".partition("e")
    return mantissa + (f"e{int(exponent)}" if e else "")


def fixed(value: float, digits: int, flip: float) -> str:
    """Return a number with some digits after its point."""
    low, high = (f"{value * factor:.{digits}f}" for factor in (1 - flip, 1 + flip))
    return _steady(f"{value:.{digits}f}", (low, high), value)


def percent(value: float, flip: float = 0.0) -> str:
    """Return two digits of a share, in percent unless it is small."""

    def two(x: float) -> str:
        if x >= 0.1:
            return f"{float(f'{100 * x:.1e}'):.0f} %"
        mantissa, _, exponent = f"{x:.1e}".partition("e")
        if x < 1e-4:
            return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
        return f"{100 * float(f'{x:.1e}'):.{max(-1 - int(exponent), 0)}f} %"

    return _steady(two(value), (two(value * (1 - flip)), two(value * (1 + flip))), value)


def share(error: float, allowed: float) -> str:
    """Return an error, or only that it is allowed where its digits are those of rounding."""
    return percent(error, FLIP_OF_ERRORS) if error >= 1e-5 else f"< {percent(max(min(allowed, 1e-5), 1e-12))}"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Know `--page`."""
    parser.addoption("--page", action="store_true", help=f"write {PAGE.name} from what the verification tests find")


@pytest.fixture(scope="session")
def whole_page(request: pytest.FixtureRequest) -> Page:
    """Return the page of this session."""
    kept = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else ""
    made = Page(kept, writes=request.config.getoption("--page"))
    request.config.stash[MADE] = made
    return made


MADE = pytest.StashKey[Page]()


@pytest.fixture
def page(whole_page: Page, request: pytest.FixtureRequest) -> Page:
    """Return the page, which knows whose file is handing in rows."""
    whole_page.file = request.path.name
    return whole_page


def whole(config: pytest.Config) -> bool:
    """Return whether all tests of the files asked for ran, none left out by name or by outcome."""
    left_out = ("keyword", "deselect", "lf", "last_failed", "stepwise")
    return not any(config.getoption(name, None) for name in left_out) and not any("::" in arg for arg in config.args)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Look at the whole page after all others have said their part."""
    items.sort(key=lambda item: item.path.name == "test_flow_page.py")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the page when asked to."""
    made = session.config.stash.get(MADE, None)
    if made is None or not made.writes or session.testsfailed:
        return
    from mpi4py import MPI

    if MPI.COMM_WORLD.rank == 0:
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        PAGE.write_text(made.text(), encoding="utf-8")


__all__ = ["PAGE", "RENEW", "Page", "Section", "page", "short", "split", "whole", "whole_page"]
