"""`turgor check`: a case as it will be solved, in tables. Nothing is solved or written."""

from __future__ import annotations

import fnmatch
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from turgor.line import estimated_cells
from turgor.materials.errors import CaseError, listed, nearest
from turgor.materials.parameters import PARAMETERS

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from turgor.case import Case
    from turgor.resolve import Given

BYTES_PER_RANK = 200e6
"""A process with DOLFINx and PETSc loaded, before there is a mesh."""

BYTES_PER_CELL = 1400.0
"""Mesh, matrices and multigrid, for each cell and physics; measured with flow and drug on 147 000 cells."""


@dataclass(frozen=True)
class Meshed:
    """What a mesh file says about itself.

    Attributes:
        points: Number of points.
        cells: Number of tetrahedra.
        facets: Number of their faces, each once.
        regions: Region -> volume [mm^3].
        surfaces: Surface -> kind and area [mm^2].
    """

    points: int
    cells: int
    facets: int
    regions: Mapping[str, float]
    surfaces: Mapping[str, tuple[str, float]]


def read_mesh(file: Path) -> Meshed:
    """Read what a mesh file says about itself.

    Raises:
        CaseError: It is not a mesh file of turgor.
    """
    import h5py
    import numpy as np

    if not h5py.is_hdf5(file):
        raise CaseError(f"{file}: not a mesh file of turgor; remove it and run `turgor mesh`")
    with h5py.File(file) as h5:
        points, cells = h5["points"][:], h5["cells"][:]
        edges = points[cells[:, 1:]] - points[cells[:, :1]]
        names = json.loads(h5.attrs["regions"])
        volumes = np.bincount(h5["region"][:], np.abs(np.linalg.det(edges)) / 6, minlength=len(names))
        corners = points[h5["facets/vertices"][:]]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        kinds = json.loads(h5.attrs["surfaces"])
        tags = h5["facets/surface"][:]
        areas = np.bincount(tags, np.linalg.norm(normals, axis=1) / 2, minlength=len(kinds))
    surfaces = {entry["name"]: (entry["kind"], float(area)) for entry, area in zip(kinds, areas, strict=True)}
    outer = [number for number, entry in enumerate(kinds) if entry["kind"] not in ("interface", "named")]
    facets = (4 * len(cells) + int(np.isin(tags, outer).sum())) // 2
    return Meshed(len(points), len(cells), facets, dict(zip(names, map(float, volumes), strict=True)), surfaces)


def matching(pattern: str, names: Iterable[str]) -> list[str]:
    """Return the surfaces that a pattern such as "*|outside" or "b|a" stands for."""
    known = list(names)
    first, bar, second = pattern.partition("|")
    names = [*fnmatch.filter(known, pattern), *fnmatch.filter(known, f"{second}{bar}{first}")]
    return list(dict.fromkeys(names))


def conditions(case: Case, surfaces: Mapping[str, tuple[str, float]]) -> Mapping[str, Mapping[str, str]]:
    """Return surface -> physics -> condition in words, for every surface that is not a mere interface or has one.

    Raises:
        CaseError: A condition names no surface of the mesh; all such complaints at once.
    """
    found: dict[str, dict[str, str]] = {name: {} for name, (kind, _) in surfaces.items() if kind != "interface"}
    complaints = []
    for spec in case.physics.values():
        for number, condition in enumerate(spec.conditions):
            names = [name for pattern in condition.on for name in matching(pattern, surfaces)]
            for name in names:
                found.setdefault(name, {})[spec.key] = condition.words()
            if not names:
                asked = ", ".join(repr(pattern) for pattern in condition.on)
                complaints.append(
                    f"physics.{spec.key}.conditions.{number}.on: the mesh has no surface {asked}; "
                    f"it has {', '.join(surfaces)}.{nearest(condition.on[0], surfaces)}"
                )
    if complaints:
        raise CaseError(listed(complaints))
    return found


def console() -> Console:
    """Return where tables are printed: as wide as the terminal, or wide enough for a file."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 140, highlight=False)


def explain(case: Case) -> None:
    """Print which condition stands for which surface, after what the outer surfaces of the case are held at.

    Raises:
        CaseError: The mesh exists and does not fit the case.
    """
    from turgor.explain import candidates, table

    file = case.mesh.file.with_suffix(".h5")
    screen = console()
    if file.is_file():
        surfaces = read_mesh(file).surfaces
        screen.print(candidates(surfaces, conditions(case, surfaces)))
    screen.print(table())


def show(case: Case) -> None:
    """Print the case: what it is, every value in force, surfaces and conditions, size.

    Raises:
        CaseError: The mesh exists and does not fit the case.
    """
    file = case.mesh.file.with_suffix(".h5")
    meshed = read_mesh(file) if file.is_file() else None
    regions = tuple(meshed.regions) if meshed else case.mesh.regions() or tuple(case.materials)
    tables = [_values(case, regions)] if case.physics else []
    if meshed is not None:
        tables += [_regions(meshed), _surfaces(case, meshed)]
    screen = console()
    screen.print(f"[bold]{case.name}[/bold]" + (f": {case.title}" if case.title else ""))
    for line in _sentences(case):
        screen.print(line, markup=False)
    for table in tables:
        screen.print(table)
    for line in _size(case, meshed):
        screen.print(line, markup=False)


def _sentences(case: Case) -> Iterator[str]:
    """Yield what the case says, beside its values."""
    from turgor.fem.physics.drug.spec import DrugSpec

    yield f"physics: {', '.join(case.physics) or 'none'}"
    for spec in case.physics.values():
        if isinstance(spec, DrugSpec):
            blood = spec.plasma.words() if spec.plasma else "none"
            yield f"drug: {spec.agent or 'without an agent'}; in the blood: {blood}"
    if case.time is None:
        yield "time: steady"
    else:
        yield f"time: to {case.time.end}"


def _values(case: Case, regions: Iterable[str]) -> Table:
    """Return the table of every value in force."""
    from rich.markup import escape
    from rich.table import Table

    from turgor.resolve import resolve

    table = Table(title="values in force", title_justify="left")
    for head in ("region", "parameter", "", "value", "source"):
        table.add_column(head, overflow="fold")
    for region, values in resolve(case, regions).items():
        for number, (name, given) in enumerate(values.items()):
            symbol = PARAMETERS[name].symbol if name in PARAMETERS else ""
            table.add_row(region if number == 0 else "", name, symbol, escape(given.text), escape(_source(given)))
        table.add_section()
    return table


def _source(given: Given) -> str:
    """Return the source of a value, with the reason of an assumed one."""
    words = {"case": "this case", "default": "default"}.get(given.source, given.source)
    return f"{words}: {given.reason}" if given.reason and given.source == "assumed" else words


def _regions(meshed: Meshed) -> Table:
    """Return the table of regions."""
    from rich.table import Table

    table = Table("region", r"volume \[mL]", title="regions", title_justify="left")
    for name, volume in meshed.regions.items():
        table.add_row(name, f"{volume / 1000:.3g}")
    return table


def _surfaces(case: Case, meshed: Meshed) -> Table:
    """Return the table of surfaces with their conditions."""
    from rich.table import Table

    held = conditions(case, meshed.surfaces)
    table = Table("surface", "kind", r"area \[cm^2]", *case.physics, title="surfaces", title_justify="left")
    for name, (kind, area) in meshed.surfaces.items():
        natural = "" if kind == "interface" else "sealed, not named"
        said = [held.get(name, {}).get(key, natural) for key in case.physics]
        table.add_row(name, kind, f"{area / 100:.3g}", *said)
    return table


def grouped(number: int) -> str:
    """Return a number with its thousands set apart."""
    return f"{number:,}".replace(",", " ")


def _size(case: Case, meshed: Meshed | None) -> Iterator[str]:
    """Yield how large the computation is."""
    if meshed is None:
        yield "not meshed yet: surfaces and unknowns are told after `turgor mesh`"
        if not case.mesh.is_own:
            cells = estimated_cells(case)
            memory = BYTES_PER_RANK + BYTES_PER_CELL * cells * max(len(case.physics), 1)
            yield f"cells: about {grouped(cells)}, which need about {memory / 1e9:.1f} GB"
        for spec in case.physics.values():
            for condition in spec.conditions:
                yield f"  {spec.key}: {', '.join(condition.on)}: {condition.words()}"
        return
    places = {"flow": meshed.facets}
    unknowns = {key: places.get(key, meshed.points) * len(spec.unknowns) for key, spec in case.physics.items()}
    memory = BYTES_PER_RANK + BYTES_PER_CELL * meshed.cells * max(len(unknowns), 1)
    yield f"cells: {grouped(meshed.cells)}; points: {grouped(meshed.points)}"
    yield "unknowns: " + (", ".join(f"{key} {grouped(number)}" for key, number in unknowns.items()) or "none")
    yield f"memory: about {memory / 1e9:.1f} GB on one rank, and {BYTES_PER_RANK / 1e9:.2f} GB for each further one"
