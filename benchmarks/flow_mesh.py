"""The mesh of the flow benchmark: a ball in a ball, graded, made once by gmsh and kept outside the repository."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import reverse_cuthill_mckee

from turgor.meshing.formats import write_h5
from turgor.meshing.tetrahedra import Surface, assemble, positive

KEPT = Path(tempfile.gettempdir()) / "turgor-benchmarks"
CUBED = 93.0
"""Cells times the cube of the width in the inner ball."""


@dataclass(frozen=True)
class Mesh:
    """Files of the same mesh.

    Attributes:
        case: As turgor reads it, with a .msh beside that a case can name.
        arrays: Points, cells, regions and triangles of the rim, for the peers.
        cells: How many.
    """

    case: Path
    arrays: Path
    cells: int


def sphere(cells: int) -> Mesh:
    """Return the mesh with about so many cells; it is made when it is not there."""
    KEPT.mkdir(exist_ok=True)
    case, arrays = KEPT / f"sphere-{cells}.h5", KEPT / f"sphere-{cells}.npz"
    if not (case.is_file() and arrays.is_file()):
        raw = KEPT / f"raw-{cells}.npz"
        worker = Path(__file__).with_name("gmsh_sphere.py")
        subprocess.run([sys.executable, str(worker), str((CUBED / cells) ** (1 / 3)), str(raw)], check=True)
        _write(raw, case, arrays)
        raw.unlink()
    with np.load(arrays) as kept:
        return Mesh(case, arrays, int(kept["count"]))


def _write(raw: Path, case: Path, arrays: Path) -> None:
    with np.load(raw) as made:
        points, cells, region = (made[name] for name in ("points", "cells", "region"))
    points, cells, region = _numbered(points, cells, region)
    nothing: tuple[NDArray[np.int64], list[Surface]] = (np.zeros((0, 4), np.int64), [])
    mesh = assemble(points, positive(points, cells), region, ("tumor", "host"), nothing)
    names = [surface.name for surface in mesh.surfaces]
    rim = mesh.facets[mesh.facet_surface == names.index("host|outside")]
    write_h5(case, mesh, "")
    # A case names the .msh; it is not read here.
    case.with_suffix(".msh").touch()
    found = {"points": mesh.points, "cells": mesh.cells.astype(np.int32), "region": mesh.region.astype(np.int8)}
    np.savez(arrays, **found, rim=rim.astype(np.int32), count=len(cells))


def _numbered(
    points: NDArray[np.float64], cells: NDArray[np.int32], region: NDArray[np.int8]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Number neighbors closely, as whoever does not renumber would want it; gmsh does not."""
    rows = np.concatenate([cells[:, i] for i in range(4) for j in range(4) if i != j])
    columns = np.concatenate([cells[:, j] for i in range(4) for j in range(4) if i != j])
    graph = coo_array((np.ones(len(rows), np.int8), (rows, columns)), shape=(len(points), len(points))).tocsr()
    order = reverse_cuthill_mckee(graph, symmetric_mode=True)
    number = np.empty(len(order), np.int64)
    number[order] = np.arange(len(order))
    cells_new = number[cells]
    by = np.argsort(cells_new.min(axis=1), kind="stable")
    return points[order], cells_new[by], region[by].astype(np.int64)
