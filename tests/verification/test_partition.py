"""How the mesh is shared between ranks: equal parts, with every neighbor of a cell at hand."""

from __future__ import annotations

from pathlib import Path

from turgor.fem.startup import MPI  # isort: skip  (MPI before DOLFINx)

import numpy as np
import pytest
from support.meshes import box, slab, write

from turgor.fem.domain import Domain
from turgor.materials.errors import CaseError
from turgor.meshing.tetrahedra import Tetrahedra, areas, faces_of

COMM = MPI.COMM_WORLD


def cube() -> Tetrahedra:
    """Return a cube of 1296 cells with a ball in it and names for its six sides."""
    return box(
        3 * [np.linspace(-1, 1, 7)],
        lambda c: (np.linalg.norm(c, axis=1) < 0.6).astype(np.int64),
        ("outer", "ball"),
        sides=True,
    )


def shared(folder: Path, mesh: Tetrahedra) -> Domain:
    """Write the mesh, and read it on all ranks."""
    if COMM.rank == 0:
        write(mesh, folder)
    COMM.barrier()
    return Domain.read(folder / "mesh.h5", COMM)


@pytest.mark.parametrize("mesh", [cube(), slab(1.0, 4), slab(3.0, 30, across=2)], ids=["cube", "bar", "long bar"])
def test_every_rank_gets_the_same_number_of_cells(mesh: Tetrahedra, tmp_path: Path) -> None:
    """Cells that lie in one plane with the cut go to one side together: here at most four."""
    domain = shared(tmp_path, mesh)
    owned = COMM.allgather(domain.owned)
    assert sum(owned) == len(mesh.cells)
    assert max(owned) - min(owned) <= 4 * COMM.size


def test_every_cell_has_all_its_neighbors_on_its_rank(tmp_path: Path) -> None:
    mesh = cube()
    domain = shared(tmp_path, mesh)
    here = np.asarray(domain.mesh.topology.original_cell_index)
    faces = faces_of(mesh.cells, len(mesh.points))
    inner = faces.second >= 0
    pairs = np.column_stack([faces.first[inner], faces.second[inner]])
    mine, ghosts = np.isin(pairs, here[: domain.owned]), here[domain.owned :]
    assert np.isin(pairs[mine.any(axis=1)], here).all()
    across = pairs[mine.sum(axis=1) == 1][~mine[mine.sum(axis=1) == 1]]
    assert set(ghosts.tolist()) == set(across.tolist()), "and no ghost without need"


def test_every_facet_of_a_surface_is_on_one_rank(tmp_path: Path) -> None:
    mesh = cube()
    domain = shared(tmp_path, mesh)
    for index, surface in enumerate(mesh.surfaces):
        found = domain.surfaces[surface.name]
        rows = mesh.facets[mesh.facet_surface == index]
        assert sum(COMM.allgather(len(found.cells))) == len(rows)
        assert found.area == pytest.approx(areas(mesh.points, rows).sum(), rel=1e-12)


@pytest.mark.parametrize("bytes_left", [0, 700, 9000])
def test_a_mesh_file_that_is_cut_off_is_refused_on_every_rank(bytes_left: int, tmp_path: Path) -> None:
    if COMM.rank == 0:
        file = write(cube(), tmp_path)
        file.write_bytes(file.read_bytes()[:bytes_left])
    COMM.barrier()
    with pytest.raises(CaseError, match="not a mesh file of turgor"):
        Domain.read(tmp_path / "mesh.h5", COMM)
