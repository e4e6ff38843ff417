# SPDX-License-Identifier: GPL-3.0-or-later
#
# This file is a separate program: it uses CGAL's Mesh_3 through pygalmesh, which are under the GNU General Public
# License, version 3 or later, and is therefore itself under that licence. The benchmark runs it with the system's
# Python (Debian: apt-get install python3-pygalmesh) and talks to it by files only.
"""Mesh a label image with CGAL Mesh_3: cgal_worker.py in.npz out.npz.

in.npz: values (nx, ny, nz), spacing (3,), distance, radius [mm]. out.npz: points, cells, label, seconds (meshing only).
"""

from __future__ import annotations

import sys
import time

import numpy as np
import pygalmesh


def main(source: str, target: str) -> None:
    """Read, mesh with perturbation and exudation, write."""
    with np.load(source) as job:
        values, spacing = job["values"], job["spacing"]
        distance, radius = float(job["distance"]), float(job["radius"])
    begin = time.perf_counter()
    mesh = pygalmesh.generate_from_array(
        values,
        tuple(spacing),
        perturb=True,
        exude=True,
        min_facet_angle=25.0,
        max_radius_surface_delaunay_ball=radius,
        max_facet_distance=distance,
        max_cell_circumradius=radius,
        max_circumradius_edge_ratio=3.0,
        verbose=False,
        seed=1,
    )
    seconds = time.perf_counter() - begin
    at = next(i for i, block in enumerate(mesh.cells) if block.type == "tetra")
    label = np.asarray(mesh.cell_data["medit:ref"][at])
    np.savez(target, points=mesh.points, cells=mesh.cells[at].data, label=label, seconds=seconds)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
