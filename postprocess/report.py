"""The report: one HTML file that works from a mail attachment, with everything a reader needs to believe it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from turgor.postprocess import rim, tables, words
from turgor.postprocess.certificate import certificate_of
from turgor.postprocess.figures import Chapter, chapters
from turgor.postprocess.ledger import Ledger, ledgers
from turgor.postprocess.run import Run
from turgor.postprocess.scales import PASCAL_PER_MMHG, and_list, clock, number, scale_for

if TYPE_CHECKING:
    from markupsafe import Markup

    from turgor.postprocess.interactive import Interactive

_HERE = Path(__file__).parent
_DRAWN_WITH = ("turgor", "pyvista", "vtk", "matplotlib", "k3d", "numpy")


def report(folder: Path | str | Run) -> Path:
    """Write `report.html` and `figures/` of a finished run.

    The page makes no request of any kind: pictures, three-dimensional scene and its program are inside.

    Args:
        folder: A run folder, or an open run.

    Returns:
        The page.

    Raises:
        CaseError: It is not a run folder, or the run is not finished.
        SetupError: This machine cannot draw.
    """
    run = folder if isinstance(folder, Run) else Run(folder)
    from turgor.postprocess.anatomy import Anatomy
    from turgor.postprocess.interactive import interactive

    anatomy = Anatomy(run, run.grid())
    books = ledgers(run)
    drawn = chapters(run, anatomy, books, run.folder / "figures")
    page = _render(_content(run, books, drawn, interactive(run, anatomy)))
    return write_whole(run.folder / "report.html", page)


def write_whole(path: Path, text: str) -> Path:
    """Write a file beside its place and move it there, so that no reader sees half of it."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    return path


def _render(content: Mapping[str, object]) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    return environment.get_template("report.html").render(content)


def _content(run: Run, books: tuple[Ledger, ...], drawn: list[Chapter], scene: Interactive) -> dict[str, object]:
    """Return everything the template names."""
    header, regions = tables.region_table(run)
    return {
        "style": (_HERE / "report.css").read_text(encoding="utf-8"),
        "run": run,
        "manifest": run.manifest,
        "scene": scene,
        "facts": _facts(run, books),
        "warnings": words.warnings(run),
        "methods": words.methods(run),
        "equations": words.equations(run),
        "chapters": {chapter.key: chapter for chapter in drawn},
        "figure_numbers": _figure_numbers(drawn),
        "measures": tables.measures(run),
        "tumors": rim.tumor_tables(run),
        "fluid": rim.fluid_table(run),
        "fluxes": rim.surface_table(run),
        "bars": run.bars,
        "transient": len(run.times) > 1,
        "region_header": header,
        "region_rows": regions,
        "surfaces": words.surface_rows(run),
        "condition_columns": words.columns_of_conditions(run),
        "balances": [(book, *tables.balance_table(book)) for book in books if book.items],
        "parameters": words.parameter_rows(run),
        "agent": words.agent_rows(run),
        "plasma": words.plasma_words(run) if run.resolved.plasma else "",
        "checks": tables.checks(run, books),
        "certificate": certificate_of(run.manifest.mesh.certificate),
        "references": list(enumerate(run.references.items(), start=1)),
        "drawn_with": _drawn_with(),
        "drawn_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "clock": clock,
        "with_links": _with_links,
    }


def _with_links(reference: str) -> Markup:
    """Return a reference with its DOI as a link; a link asks for nothing until it is followed."""
    from markupsafe import Markup, escape

    link = r'<a href="https://doi.org/\1">doi:\1</a>'
    return Markup(re.sub(r"doi:(10\.[^\s&]*[^\s&.,;])", link, str(escape(reference))))


def _figure_numbers(drawn: list[Chapter]) -> dict[str, int]:
    names = [picture.name for chapter in drawn for picture in chapter.pictures]
    return {name: i for i, name in enumerate(names, start=1)}


def _drawn_with() -> dict[str, str]:
    found = {}
    for name in _DRAWN_WITH:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _facts(run: Run, books: tuple[Ledger, ...]) -> list[tuple[str, str, str]]:
    """Return the few numbers that stand at the top: value, unit, what it is."""
    facts = []
    table = run.region_means
    volume = sum(region.volume for region in run.manifest.region_geometry if region.name in run.tumor)
    if volume > 0:
        facts.append((number(volume / 1000), "mL", f"volume of {and_list(run.tumor)}"))
    where = run.tumor or run.regions
    if "pressure max [Pa]" in table:
        highest = max(float(table.where("region", name).numbers("pressure max [Pa]")[-1]) for name in where)
        facts.append((number(highest / PASCAL_PER_MMHG), "mmHg", f"highest pressure in the {_place(run)}"))
    column = "concentration mean [mol/m^3]"
    if column in table and len(run.times) > 1:
        main = table.where("region", where[0])
        values, times = main.numbers(column), main.numbers("t [s]")
        peak = int(values.argmax())
        scale = scale_for("mol/m^3", float(values[peak]))
        facts.append((
            number(float(scale(values[peak]))), scale.unit,
            f"highest mean free concentration in {where[0]}, at {clock(float(times[peak]))}",
        ))  # fmt: skip
    if books:
        worst = max(book.relative_residual for book in books)
        facts.append((number(worst, 2), "", "largest balance residual, relative"))
    return facts


def _place(run: Run) -> str:
    return "tumor" if run.tumor else "body"
