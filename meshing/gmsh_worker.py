# SPDX-License-Identifier: GPL-2.0-or-later
#
# This file is a separate program: it uses gmsh, whose licence is the GNU General Public License, version 2 or later,
# and is therefore itself under that licence. turgor runs it as `python gmsh_worker.py in.npz out.npz` and talks to it
# by these two files only.
"""Fill the parts between triangulated surfaces with tetrahedra: gmsh as a program of its own.

in.npz: points (n,3), triangles (t,3), patch (t,), volume_patches (k,2: volume, patch), algorithm, threshold, verbosity,
size map as an octree: origin (3,), width, child (o,), size (o,), limit (largest size by volume, from volume 1).
out.npz: points (the given ones first), cells (m,4), volume (m,). A failure ends with a traceback and exit status 1.
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import gmsh
import numpy as np
from numba import cfunc, types
from numba.np.numpy_support import carray

_SIGNATURE = types.double(types.intc, types.intc, types.double, types.double, types.double, types.double, types.voidptr)
_TREE = np.dtype([("x", "f8"), ("y", "f8"), ("z", "f8"), ("width", "f8"), ("nodes", "i8"), ("volumes", "i8")])


@cfunc(_SIGNATURE, cache=True)
def wanted_size(dim, tag, x, y, z, given, data):  # type: ignore[no-untyped-def]
    """Return the edge length wanted at a point: descend the octree, stop at the largest size of the volume.

    `data` holds, as doubles: x, y, z, width, number of nodes, number of volumes, children, sizes, limits.
    """
    head = carray(data, (6,), np.float64)
    nodes, volumes = int(head[4]), int(head[5])
    table = carray(data, (6 + 2 * nodes + volumes,), np.float64)
    low_x, low_y, low_z, width = head[0], head[1], head[2], head[3]
    at = 0
    child = int(table[6])
    while child >= 0:
        width *= 0.5
        step = 0
        if x >= low_x + width:
            step += 4
            low_x += width
        if y >= low_y + width:
            step += 2
            low_y += width
        if z >= low_z + width:
            step += 1
            low_z += width
        at = child + step
        child = int(table[6 + at])
    size = table[6 + nodes + at]
    if dim == 3 and 1 <= tag <= volumes:
        size = min(size, table[6 + 2 * nodes + tag - 1])
    return size


def build(job: dict[str, np.ndarray]) -> None:
    """Make gmsh's model: one discrete surface a patch, one volume a part."""
    points, triangles, patch = job["points"], job["triangles"], job["patch"]
    order = np.argsort(patch, kind="stable")
    bounds = np.searchsorted(patch[order], np.arange(int(patch.max()) + 2))
    owned = np.zeros(len(points), dtype=bool)
    blocks = [triangles[order[bounds[i] : bounds[i + 1]]] for i in range(len(bounds) - 1)]
    for tag, block in enumerate(blocks, 1):
        gmsh.model.addDiscreteEntity(2, tag)
        new = np.unique(block)
        new = new[~owned[new]]
        owned[new] = True
        if len(new):
            gmsh.model.mesh.addNodes(2, tag, new + 1, points[new].ravel())
    number = 1
    for tag, block in enumerate(blocks, 1):
        gmsh.model.mesh.addElementsByType(tag, 2, np.arange(number, number + len(block)), (block + 1).ravel())
        number += len(block)
    for volume in np.unique(job["volume_patches"][:, 0]).tolist():
        loop = job["volume_patches"][job["volume_patches"][:, 0] == volume, 1] + 1
        gmsh.model.geo.addVolume([gmsh.model.geo.addSurfaceLoop(loop.tolist())], volume)
    gmsh.model.geo.synchronize()


def size_table(job: dict[str, np.ndarray]) -> np.ndarray:
    """Pack octree and limits as `wanted_size` reads them."""
    head = [*job["origin"], float(job["width"]), len(job["child"]), len(job["limit"])]
    return np.concatenate([head, job["child"], job["size"], job["limit"]]).astype(np.float64)


def generate(job: dict[str, np.ndarray], table: np.ndarray) -> None:
    """Set gmsh's options and size map, and mesh."""
    for option, value in (
        ("Mesh.Algorithm3D", float(job["algorithm"])),
        ("Mesh.Optimize", 1.0),
        ("Mesh.OptimizeThreshold", float(job["threshold"])),
        ("Mesh.OptimizeNetgen", 0.0),
        ("Mesh.MeshSizeFromPoints", 0.0),
        ("Mesh.MeshSizeExtendFromBoundary", 0.0),
        ("Mesh.Reproducible", 1.0),
        ("Mesh.Renumber", 0.0),
    ):
        gmsh.option.setNumber(option, value)
    error = ctypes.c_int()
    gmsh.lib.gmshModelMeshSetSizeCallback(
        ctypes.c_void_p(wanted_size.address), ctypes.c_void_p(table.ctypes.data), ctypes.byref(error)
    )
    gmsh.model.mesh.generate(3)


def result(n_given: int) -> dict[str, np.ndarray]:
    """Collect points and tetrahedra by volume."""
    tags, coordinates, _ = gmsh.model.mesh.getNodes()
    row = np.full(int(tags.max()) + 1, -1, dtype=np.int64)
    order = np.argsort(tags, kind="stable")
    row[tags[order].astype(np.int64)] = np.arange(len(tags))
    points = coordinates.reshape(-1, 3)[order]
    cells, volume = [np.zeros((0, 4), dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    for _, tag in gmsh.model.getEntities(3):
        _, vertices = gmsh.model.mesh.getElementsByType(4, tag)
        cells.append(row[vertices.astype(np.int64)].reshape(-1, 4))
        volume.append(np.full(len(cells[-1]), tag, dtype=np.int64))
    return {
        "points": points,
        "cells": np.concatenate(cells),
        "volume": np.concatenate(volume),
        "version": np.array(gmsh.__version__),
        "given": np.array(n_given),
    }


def main(source: Path, target: Path) -> None:
    """Read a job, mesh it, write the outcome; end when the one who asked is killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL
    with np.load(source) as file:
        job = {name: file[name] for name in file.files}
    gmsh.initialize(interruptible=False)
    gmsh.option.setNumber("General.Verbosity", float(job["verbosity"]))
    gmsh.option.setNumber("General.NumThreads", 1)
    gmsh.model.add("organ")
    build(job)
    generate(job, size_table(job))
    outcome = result(len(job["points"]))
    gmsh.finalize()
    np.savez(target, allow_pickle=False, **outcome)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
