"""The file of fields holds the numbers of the mesh file and exact values, on any number of ranks."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path

from turgor.fem.startup import MPI  # isort: skip  (first: it loads MPI)

import basix.ufl
import h5py
import numpy as np
import pytest
import pyvista as pv
from dolfinx import fem
from dolfinx.mesh import Mesh, create_mesh
from numpy.typing import NDArray

from turgor.fem.vtkhdf import FieldFile, Numbered
from turgor.materials.errors import SetupError

COMM = MPI.COMM_WORLD
TIMES = (0.0, 60.0, 3600.0)


def cube(n: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return points and cells of a cube of n^3 boxes of six tetrahedra, each list shuffled so that order shows."""
    axis = np.arange(n + 1)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    steps = np.array(
        [np.cumsum(np.vstack([np.zeros((1, 3)), np.eye(3)[list(p)]]), axis=0) for p in permutations(range(3))]
    )
    corners = grid[(grid < n).all(axis=1)]
    lattice = corners[:, None, None, :] + steps[None].astype(int)
    cells = (lattice @ np.array([(n + 1) ** 2, n + 1, 1])).reshape(-1, 4)
    rng = np.random.default_rng(3)
    new = rng.permutation(len(grid))
    points = np.empty(grid.shape)
    points[new] = grid / n
    return points, rng.permutation(new[cells])


BOXES = 4
POINTS, CELLS = cube(BOXES)


def places(mesh: Mesh[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Return the coordinates of the local unknowns of a P1 space, freed of rounding, and their numbers in each cell."""
    space = fem.functionspace(mesh, ("Lagrange", 1))
    return np.round(BOXES * space.tabulate_dof_coordinates()) / BOXES, space.dofmap.list


def pressure(x: NDArray[np.float64], t: float) -> NDArray[np.float64]:
    """Return a pressure that tells the points and times apart."""
    return np.asarray(1.0 + 2.0 * x[..., 0] - 3.0 * x[..., 1] ** 2 + 0.1 * x[..., 2] + t)


def velocity(cell: NDArray[np.int64], t: float) -> NDArray[np.float64]:
    """Return a velocity that tells the cells, times and components apart."""
    return np.stack([cell + t, -2.0 * cell, 0.0 * cell + 0.5], axis=1)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that all ranks share; pytest's own would be cleaned by each rank at once."""
    mine = tempfile.mkdtemp() if COMM.rank == 0 else ""
    shared = Path(COMM.bcast(mine))
    yield shared
    COMM.barrier()
    if COMM.rank == 0:
        shutil.rmtree(shared)


@pytest.fixture
def mesh() -> Mesh[np.float64]:
    """The cube, handed over by rank 0 and spread over all ranks."""
    element = basix.ufl.element("Lagrange", "tetrahedron", 1, shape=(3,))
    mine = slice(None) if COMM.rank == 0 else slice(0, 0)
    return create_mesh(COMM, CELLS[mine], element, POINTS[mine])


def fields(mesh: Mesh[np.float64], t: float) -> dict[str, Numbered]:
    """Return the fields that change, at a time."""
    x, dofmap = places(mesh)
    cell = np.asarray(mesh.topology.original_cell_index)
    return {
        "pressure": Numbered("P1", pressure(x, t), "Pa", dofmap),
        "velocity": Numbered("DG0vector", velocity(cell, t).ravel(), "mm/s"),
    }


def static(mesh: Mesh[np.float64]) -> dict[str, Numbered]:
    """Return the fields that do not change."""
    x, dofmap = places(mesh)
    cell = np.asarray(mesh.topology.original_cell_index)
    return {
        "region": Numbered("DG0", (cell % 3).astype(np.int32)),
        "distance.tumor": Numbered("P1", pressure(x, 7.0), "mm", dofmap),
    }


@pytest.fixture
def written(mesh: Mesh[np.float64], folder: Path) -> Path:
    """A file with all times."""
    path = folder / "fields.vtkhdf"
    with FieldFile(path, mesh, COMM, static(mesh)) as file:
        for t in TIMES:
            file.write(t, fields(mesh, t))
    return path


def grids(path: Path) -> Iterator[pv.UnstructuredGrid]:
    """Yield what PyVista reads at each time."""
    reader = pv.HDFReader(str(path))
    for step in range(reader.reader.GetNumberOfSteps()):
        reader.reader.SetStep(step)
        yield reader.read().copy()


def test_the_mesh_stands_in_the_file_in_the_numbers_of_the_mesh_file(written: Path) -> None:
    with h5py.File(written) as file:
        np.testing.assert_array_equal(file["VTKHDF/Points"], POINTS)
        np.testing.assert_array_equal(np.reshape(file["VTKHDF/Connectivity"], (-1, 4)), CELLS)
        np.testing.assert_array_equal(file["VTKHDF/Steps/Values"], TIMES)


def test_pyvista_reads_every_time_with_its_exact_values(written: Path) -> None:
    cells = np.arange(len(CELLS))
    seen = list(grids(written))
    assert len(seen) == len(TIMES)
    for t, grid in zip(TIMES, seen, strict=True):
        np.testing.assert_array_equal(grid.point_data["pressure"], pressure(POINTS, t))
        np.testing.assert_array_equal(grid.cell_data["velocity"], velocity(cells, t))


def test_fields_that_do_not_change_are_stored_once_and_seen_at_every_time(written: Path) -> None:
    for grid in grids(written):
        np.testing.assert_array_equal(grid.cell_data["region"], np.arange(len(CELLS)) % 3)
        np.testing.assert_array_equal(grid.point_data["distance.tumor"], pressure(POINTS, 7.0))
    with h5py.File(written) as file:
        assert len(file["VTKHDF/CellData/region"]) == len(CELLS)
        assert len(file["VTKHDF/PointData/pressure"]) == len(TIMES) * len(POINTS)


def test_what_is_as_it_was_a_time_before_is_not_stored_again(mesh: Mesh[np.float64], folder: Path) -> None:
    path, held = folder / "fields.vtkhdf", (0.0, 0.0, 2.0, 2.0, 0.0)
    with FieldFile(path, mesh, COMM, static(mesh)) as file:
        for number, t in enumerate(held[:3]):
            file.write(float(number), fields(mesh, t))
    with FieldFile(path, mesh, COMM, until=1.0) as file:
        for number, t in enumerate(held[2:], start=2):
            file.write(float(number), fields(mesh, t))
    for t, grid in zip(held, grids(path), strict=True):
        np.testing.assert_array_equal(grid.point_data["pressure"], pressure(POINTS, t))
        np.testing.assert_array_equal(grid.cell_data["velocity"], velocity(np.arange(len(CELLS)), t))
    with h5py.File(path) as file:
        assert len(file["VTKHDF/PointData/pressure"]) == 3 * len(POINTS)


def test_pyvista_finds_the_volume_of_the_cube(written: Path) -> None:
    for grid in grids(written):
        assert np.abs(grid.compute_cell_sizes()["Volume"]).sum() == pytest.approx(1.0, rel=1e-12)


def test_a_field_carries_its_unit(written: Path) -> None:
    with h5py.File(written) as file:
        assert file["VTKHDF/PointData/pressure"].attrs["unit"] == "Pa"


def test_what_a_killed_run_leaves_is_readable_to_the_last_time(mesh: Mesh[np.float64], folder: Path) -> None:
    path, left = folder / "fields.vtkhdf", folder / "left.vtkhdf"
    with FieldFile(path, mesh, COMM, static(mesh)) as file:
        for t in TIMES[:2]:
            file.write(t, fields(mesh, t))
        if COMM.rank == 0:
            shutil.copyfile(path, left)
        COMM.barrier()
    seen = list(grids(left))
    assert len(seen) == 2
    np.testing.assert_array_equal(seen[-1].point_data["pressure"], pressure(POINTS, TIMES[1]))


def test_the_file_appears_with_its_first_time(mesh: Mesh[np.float64], folder: Path) -> None:
    path = folder / "fields.vtkhdf"
    with FieldFile(path, mesh, COMM) as file:
        assert not path.exists()
        file.write(0.0, fields(mesh, 0.0))
        assert path.exists()


def test_a_time_with_other_fields_is_refused(mesh: Mesh[np.float64], folder: Path) -> None:
    with FieldFile(folder / "fields.vtkhdf", mesh, COMM) as file:
        file.write(0.0, fields(mesh, 0.0))
        with pytest.raises(ValueError, match="holds"):
            file.write(1.0, static(mesh))


def test_all_ranks_hear_of_a_folder_that_is_not_there(mesh: Mesh[np.float64], folder: Path) -> None:
    with pytest.raises(SetupError, match=r"fields\.vtkhdf"):
        FieldFile(folder / "absent" / "fields.vtkhdf", mesh, COMM)
