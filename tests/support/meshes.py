"""Meshes for tests, made without a mesher: boxes, and nested balls as images of cubes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from turgor.meshing.formats import write_h5, write_msh
from turgor.meshing.tetrahedra import Tetrahedra, assemble

Array = NDArray[np.float64]
KUHN = np.array([[0, 1, 3, 7], [0, 3, 2, 7], [0, 2, 6, 7], [0, 6, 4, 7], [0, 4, 5, 7], [0, 5, 1, 7]])
"""Six tetrahedra that fill a cube whose corner (x, y, z) has the number x + 2 y + 4 z."""


def grid(ticks: Sequence[Array]) -> tuple[Array, NDArray[np.int64]]:
    """Return points and tetrahedra of a box with planes at the given ticks in x, y and z."""
    counts = [len(t) for t in ticks]
    points = np.stack(np.meshgrid(*ticks, indexing="ij"), axis=-1).reshape(-1, 3)
    number = np.arange(len(points)).reshape(counts)
    corners = [number[x : counts[0] - 1 + x, y : counts[1] - 1 + y, z : counts[2] - 1 + z] for z in (0, 1) for y in (0, 1) for x in (0, 1)]
    cubes = np.stack([corner.ravel() for corner in corners], axis=1)
    return points, cubes[:, KUHN].reshape(-1, 4)


def finish(points: Array, cells: NDArray[np.int64], region: NDArray[np.int64], names: tuple[str, ...]) -> Tetrahedra:
    """Orient the cells and name the facets."""
    edges = points[cells[:, 1:]] - points[cells[:, :1]]
    flipped = np.linalg.det(edges) < 0
    cells[flipped] = cells[flipped][:, [0, 2, 1, 3]]
    return assemble(points, cells, region, names, (np.zeros((0, 4), np.int64), []))


def box(ticks: Sequence[Array], region: Callable[[Array], NDArray[np.int64]], names: tuple[str, ...]) -> Tetrahedra:
    """Return a box whose regions are given by a function of the cells' centers, shape (n, 3)."""
    points, cells = grid(ticks)
    return finish(points, cells, region(points[cells].mean(axis=1)), names)


def balls(radii: Sequence[Array], names: tuple[str, ...], across: int | None = None) -> Tetrahedra:
    """Return nested balls: one array of shell radii [mm] a region, from its inner to its outer surface.

    The cube of the largest norm is mapped radially onto the ball, so that every shell of cells ends on a sphere.

    Args:
        radii: For each region the radii at which its cells end; the first one starts after zero.
        names: Names of the regions, from the inside out.
        across: Cells along each edge of the cube; twice the number of radii when None.
    """
    ends = np.concatenate([np.zeros(1), *radii])
    ticks = np.linspace(-1, 1, (across or 2 * (len(ends) - 1)) + 1)
    points, cells = grid(3 * [ticks])
    largest = np.abs(points).max(axis=1)
    length = np.linalg.norm(points, axis=1)
    radius = np.interp(largest * (len(ends) - 1), np.arange(len(ends)), ends)
    center = np.abs(points[cells].mean(axis=1)).max(axis=1) * (len(ends) - 1)
    borders = np.cumsum([len(r) for r in radii])
    points = points * np.where(length > 0, radius / np.maximum(length, 1e-300), 0.0)[:, None]
    return finish(points, cells, np.searchsorted(borders, center).astype(np.int64), names)


def write(mesh: Tetrahedra, folder: Path, name: str = "mesh") -> Path:
    """Write the mesh as NAME.msh and NAME.h5, and return the latter."""
    write_msh(folder / f"{name}.msh", mesh)
    file = folder / f"{name}.h5"
    write_h5(file, mesh, "")
    return file
