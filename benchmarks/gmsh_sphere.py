"""Mesh a ball of radius 1 in a ball of radius 3 by gmsh, in a process of its own: gmsh is a program of its own license.

    python benchmarks/gmsh_sphere.py SIZE OUT.npz

SIZE is the width of the cells in the inner ball; towards the rim they grow to 2.5 times that.
"""

from __future__ import annotations

import sys

import gmsh
import numpy as np

INNER, OUTER, GROWTH = 1.0, 3.0, 2.5


def build(size: float) -> None:
    """Make the two balls, with a conforming interface, and mesh them."""
    balls = [(3, gmsh.model.occ.addSphere(0, 0, 0, radius)) for radius in (INNER, OUTER)]
    gmsh.model.occ.fragment(balls[:1], balls[1:])
    gmsh.model.occ.synchronize()
    slope = (GROWTH - 1) / (OUTER - INNER)
    beyond = f"(Sqrt(x*x+y*y+z*z)-{INNER})"
    field = gmsh.model.mesh.field.add("MathEval")
    gmsh.model.mesh.field.setString(field, "F", f"{size}*(1+{slope / 2}*({beyond}+Abs({beyond})))")
    gmsh.model.mesh.field.setAsBackgroundMesh(field)
    for option in ("MeshSizeFromPoints", "MeshSizeFromCurvature", "MeshSizeExtendFromBoundary"):
        gmsh.option.setNumber(f"Mesh.{option}", 0)
    gmsh.option.setNumber("Mesh.Algorithm3D", 10)
    gmsh.option.setNumber("General.NumThreads", 1)
    gmsh.model.mesh.generate(3)


def result() -> dict[str, np.ndarray]:
    """Return points, cells and the region of each cell: 0 is the inner ball."""
    tags, flat, _ = gmsh.model.mesh.getNodes()
    number = np.full(int(tags.max()) + 1, -1, np.int64)
    number[tags] = np.arange(len(tags))
    cells, region = [], []
    for _, volume in gmsh.model.getEntities(3):
        rows = gmsh.model.mesh.getElementsByType(4, volume)[1].reshape(-1, 4)
        cells.append(number[rows].astype(np.int32))
        box = gmsh.model.getBoundingBox(3, volume)
        region.append(np.full(len(rows), int(box[3] > (INNER + OUTER) / 2), np.int8))
    used, renumbered = np.unique(np.concatenate(cells), return_inverse=True)
    points = flat.reshape(-1, 3)[used]
    return {
        "points": points,
        "cells": renumbered.reshape(-1, 4).astype(np.int32),
        "region": np.concatenate(region),
    }


def main(size: float, target: str) -> None:
    """Write the mesh."""
    gmsh.initialize()
    gmsh.option.setNumber("General.Verbosity", 2)
    build(size)
    np.savez(target, **result())
    gmsh.finalize()


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.argv[2])
