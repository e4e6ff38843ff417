"""All figures of a run, in the order of the report; each is also a file in `figures/`, with its numbers beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from turgor.postprocess.ledger import Ledger
from turgor.postprocess.run import Run

if TYPE_CHECKING:
    from turgor.postprocess.anatomy import Anatomy
    from turgor.postprocess.look import Picture


@dataclass(frozen=True)
class Chapter:
    """Figures that stand under one heading.

    Attributes:
        key: Short name, also the anchor on the page.
        title: The heading.
        pictures: In order; never empty.
    """

    key: str
    title: str
    pictures: tuple[Picture, ...]


def chapters(run: Run, anatomy: Anatomy, books: tuple[Ledger, ...], into: Path) -> list[Chapter]:
    """Draw every figure that the fields and tables of a run can fill; chapters without one are left out."""
    from turgor.postprocess.balances import balance_picture

    parts = (
        ("anatomy", "Anatomy", _anatomy(anatomy, into)),
        ("flow", "Pressure and flow", _flow(run, anatomy, into)),
        ("drug", "Drug", _drug(run, anatomy, into)),
        ("balance", "Balance", (balance_picture(book, into) for book in books if book.items)),
    )
    drawn = [Chapter(key, title, tuple(pictures)) for key, title, pictures in parts]
    return [chapter for chapter in drawn if chapter.pictures]


def _anatomy(anatomy: Anatomy, into: Path) -> Iterator[Picture]:
    from turgor.postprocess.look import Picture
    from turgor.postprocess.scene import anatomy_panels

    path = anatomy_panels(anatomy, into / "anatomy.png")
    caption = (
        "The meshed anatomy in parallel projection, so that the scale bars hold everywhere. R and L are the right and "
        "left of the patient, A front, P back, S up (toward the head), I down."
    )
    yield Picture("anatomy", "Anatomy", caption, path)


def _flow(run: Run, anatomy: Anatomy, into: Path) -> Iterator[Picture]:
    from turgor.postprocess import curves, maps

    if run.has("pressure"):
        yield maps.pressure_map(anatomy, into)
        yield from curves.pressure_profiles(run, anatomy, into)
    if run.has("velocity"):
        yield maps.velocity_map(anatomy, into)


def _drug(run: Run, anatomy: Anatomy, into: Path) -> Iterator[Picture]:
    from turgor.postprocess import curves, maps

    if not run.has("concentration"):
        return
    makers: tuple[Callable[[], Picture | None], ...] = (
        lambda: curves.concentration_curves(run, into),
        lambda: maps.concentration_maps(run, anatomy, into),
        lambda: curves.penetration_profile(run, anatomy, into),
    )
    for make in makers:
        yield from _present(make())


def _present(picture: Picture | None) -> Iterator[Picture]:
    if picture is not None:
        yield picture
