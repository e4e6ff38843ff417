"""Tetrahedra between surfaces: gmsh as a worker process, a few ways of asking it, and what must be true afterwards."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from turgor.materials.errors import MeshQualityError, SetupError
from turgor.meshing.boundary import Boundary
from turgor.meshing.repair import repaired
from turgor.meshing.sizes import GROWTH, Octree, SizeMap, Sizes, octree, vertex_sizes
from turgor.meshing.tetrahedra import Floats, Integers, Surface, Tetrahedra, assemble, volumes

WORKER = Path(__file__).with_name("gmsh_worker.py")
HXT, DELAUNAY = 10, 1
SIZE_FACTOR = 0.85
"""gmsh makes edges longer than asked for by about the inverse of this."""

SECONDS_PER_CELL = 2e-4
LADDER = ((HXT, 0.3), (DELAUNAY, 0.3))


@dataclass(frozen=True)
class Filling:
    """Cells between the triangles of a boundary.

    Attributes:
        points: Those of the boundary first, shape (n, 3).
        cells: Positively oriented, shape (m, 4).
        part: Index into the parts of the boundary by cell, shape (m,).
        how: Words on how it came about.
    """

    points: Floats
    cells: Integers
    part: Integers
    how: str


def fill(boundary: Boundary, sizes: Sizes, *, log: Callable[[str], None]) -> Filling:
    """Fill the meshed parts between triangles.

    Args:
        boundary: Surfaces that do not cross.
        sizes: Largest edge lengths by region; near surfaces cells are as fine as their triangles.
        log: Takes a sentence now and then.

    Raises:
        MeshQualityError: gmsh does not fill all parts in any of the ways tried.
        SetupError: gmsh cannot be started on this machine.
    """
    edge = vertex_sizes(boundary.points, boundary.triangles)
    tree = octree(boundary.points, SizeMap.of(boundary.points, edge, max(sizes.inside.values()), GROWTH))
    complaints = []
    for algorithm, threshold in LADDER:
        outcome = _attempt(boundary, sizes.inside, tree, algorithm, threshold)
        if isinstance(outcome, Filling):
            return outcome
        complaints.append(outcome)
        log(f"gmsh: {outcome}; trying another way")
    raise MeshQualityError(
        "gmsh could not fill the surfaces: " + "; ".join(dict.fromkeys(complaints)) + ". "
        "Set a smaller mesh.size for thin regions, or clean the segmentation there"
    )


def _attempt(
    boundary: Boundary, inside: Mapping[str, float], tree: Octree, algorithm: int, threshold: float
) -> Filling | str:
    """Run gmsh once; return the filling, or why there is none."""
    meshed = [i for i, part in enumerate(boundary.parts) if part.meshed]
    pairs, patch = boundary.patches()
    volume_patches = [(v + 1, p) for v, part in enumerate(meshed) for p in np.flatnonzero((pairs == part).any(axis=1))]
    with tempfile.TemporaryDirectory(prefix="turgor-") as folder:
        source, target = Path(folder) / "in.npz", Path(folder) / "out.npz"
        np.savez(
            source,
            points=boundary.points,
            triangles=boundary.triangles,
            patch=patch,
            volume_patches=np.array(volume_patches),
            algorithm=algorithm,
            threshold=threshold,
            verbosity=1,
            origin=tree.origin,
            width=tree.width,
            child=tree.child,
            size=tree.size * SIZE_FACTOR,
            limit=np.array([inside[boundary.parts[i].name] for i in meshed]) * SIZE_FACTOR,
        )
        seconds = 300.0 + SECONDS_PER_CELL * 10 * len(tree.size)
        why = _run(source, target, seconds)
        if why:
            return why
        with np.load(target) as file:
            points, cells, volume = file["points"], file["cells"], file["volume"]
            version = str(file["version"])
    return _checked(boundary, meshed, points, cells, volume, f"gmsh {version}, algorithm {algorithm}")


def _run(source: Path, target: Path, seconds: float) -> str:
    """Run the worker; return why it failed, or nothing."""
    command = [sys.executable, str(WORKER), str(source), str(target)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return f"no end after {seconds:.0f} s"
    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
    if "cannot open shared object file" in done.stderr:
        library = last.split(":")[-3].strip() if last.count(":") >= 3 else last
        raise SetupError(
            f"gmsh cannot start, because this machine lacks {library}. On Debian or Ubuntu: sudo apt-get install "
            "libglu1-mesa libxft2 libxcursor1 libxinerama1 libxrender1 libgl1"
        )
    if "No module named 'gmsh'" in done.stderr:
        raise SetupError("gmsh is not installed in this environment; run: pip install gmsh")
    if done.returncode != 0 or not target.exists():
        return last.removeprefix("Exception: ")
    return ""


def _checked(
    boundary: Boundary, meshed: list[int], points: Floats, cells: Integers, volume: Integers, how: str
) -> Filling | str:
    """Return the filling if every part has cells, none is flat, and the given points are unmoved."""
    if not np.array_equal(points[: len(boundary.points)], boundary.points):
        return "the surface was changed"
    count = np.bincount(volume, minlength=len(meshed) + 1)[1:]
    empty = sorted({boundary.parts[meshed[i]].name for i in np.flatnonzero(count == 0)})
    if empty:
        return f"no cells in {', '.join(empty)}"
    signed = volumes(points, cells)
    if not (np.abs(signed) > 0).all():
        return f"{int((signed == 0).sum())} flat cells"
    points, cells, part = repaired(points, cells, np.array(meshed)[volume - 1], boundary)
    enclosed = boundary.part_volumes()
    apart = np.abs(np.bincount(part, volumes(points, cells), len(enclosed)) - enclosed)[meshed]
    if apart.max() > 1e-6 * enclosed[meshed].sum():
        return "cells overlap or leave gaps"
    return Filling(points, cells, part, how)


def named(boundary: Boundary, filling: Filling, regions: tuple[str, ...]) -> Tetrahedra:
    """Join the parts of each region under its name, and name the facets."""
    index = np.array([regions.index(part.name) if part.meshed else -1 for part in boundary.parts])
    beyond = [part for part in boundary.parts if not part.meshed]
    number = np.array([beyond.index(part) if not part.meshed else -1 for part in boundary.parts])
    other = number[boundary.sides].max(axis=1)
    outer = other >= 0
    table = np.column_stack([np.sort(boundary.triangles[outer], axis=1), other[outer]])
    return assemble(
        filling.points, filling.cells, index[filling.part], regions, (table, [Surface(p.name, p.kind) for p in beyond])
    )
