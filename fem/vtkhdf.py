"""All fields and times of a run in one VTKHDF file, the same data for any number of ranks.

A temporal UnstructuredGrid of one part: the mesh stands there once, in the numbers of the mesh file (cells by
`original_cell_index`, points by `input_global_indices`), and every time appends its values and their offsets under
`Steps`. Rank 0 gathers and writes. ParaView opens the file by double click, PyVista by its `HDFReader`.

Three things are easily got wrong. h5py's default `libver` is kept: with a newer one, a file whose writer was killed is
none for VTK. Each time of a field is one chunk, so that appending never rewrites an earlier time. What does not
change carries an offset 0 for each step; what is the same as at the time before points back there.

The mesh is written at degree 1. Quadratic fields would need `_Mesh` to number the nodes of a Lagrange space instead of
the points of the geometry, and the cell type 71; the rest of the file would stay.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from turgor.fem.startup import MPI  # isort: skip  (first: it loads MPI)

import h5py
import numpy as np
from dolfinx.mesh import Mesh
from numpy.typing import NDArray

from turgor.fem.fields import Kind
from turgor.fem.runfolder import agree

TETRAHEDRON = 10
MARGIN = 1 << 16
"""Bytes a time needs beside its values."""
VERSION = (2, 3)
PARTS = ("NumberOfParts", "PartOffsets", "PointOffsets")
TOPOLOGIES = ("CellOffsets", "ConnectivityIdOffsets")

type Numbers = NDArray[np.float64 | np.int64 | np.int32]


class Stored(Protocol):
    """What this file can store: a `turgor.fem.fields.Field`, or `Numbered` values."""

    @property
    def kind(self) -> Kind:
        """How the values belong to the mesh."""

    @property
    def values(self) -> Numbers:
        """Local values, those of ghosts current; of a vector, shape (n, 3) or flat."""

    @property
    def unit(self) -> str:
        """Unit of the values."""

    @property
    def dofmap(self) -> NDArray[np.int32]:
        """Index into the values of each vertex of each local cell, shape (cells, 4); of "P1" only."""


@dataclass(frozen=True)
class Numbered:
    """Values that are no function of a physics, such as region numbers and distances; see `Stored`."""

    kind: Kind
    values: Numbers
    unit: str = ""
    dofmap: NDArray[np.int32] = field(default_factory=lambda: np.empty((0, 4), dtype=np.int32))


@dataclass(frozen=True)
class _Mesh:
    """How this rank's part of the mesh lies in the file.

    Attributes:
        nodes: Geometry points of each owned and ghost cell, shape (cells, 4).
        local_points: Number of owned and ghost points.
        owned_points: Number of owned points; they come first.
        owned_cells: Number of owned cells; they come first.
        points: On rank 0, place of each point of the file among the gathered ones.
        cells: On rank 0, place of each cell of the file among the gathered ones.
    """

    comm: MPI.Comm
    nodes: NDArray[np.int32]
    local_points: int
    owned_points: int
    owned_cells: int
    points: NDArray[np.int64]
    cells: NDArray[np.int64]

    def of_points(self, stored: Stored) -> Numbers:
        """Return the values of a P1 field in the order of the file, on rank 0. Collective."""
        at_nodes = np.empty(self.local_points, dtype=stored.values.dtype)
        at_nodes[self.nodes] = stored.values[stored.dofmap[: len(self.nodes)]]
        gathered = gather(self.comm, at_nodes[: self.owned_points])
        return gathered[self.points]

    def of_cells(self, stored: Stored) -> Numbers:
        """Return the values of a field of one number a cell in the order of the file, on rank 0. Collective."""
        return gather(self.comm, stored.values[: self.owned_cells])[self.cells]

    def of_vectors(self, stored: Stored) -> Numbers:
        """Return the values of a field of three numbers a cell in the order of the file, on rank 0. Collective."""
        return gather(self.comm, stored.values.reshape(-1, 3)[: self.owned_cells])[self.cells]


class FieldFile:
    """A file of fields that grows by one time a call.

    It appears under its name with its first time, and ends with a complete time even if the process is killed between
    two. The names of the fields are those of the first time.
    """

    def __init__(
        self,
        path: Path,
        mesh: Mesh[np.float64],
        comm: MPI.Comm,
        static: Mapping[str, Stored] | None = None,
        until: float | None = None,
    ) -> None:
        """Write the mesh and what does not change, under a temporary name; or go on with a file. Collective.

        Args:
            path: Where the file will be.
            mesh: Tetrahedra; coordinates [mm].
            comm: Communicator of the mesh.
            static: Fields that do not change: region numbers, distances.
            until: Take up the file that is there, and keep its times up to this one [s]; None to begin anew.

        Raises:
            SetupError: The file cannot be written.
        """
        self._comm = comm
        self._path = path
        self._beside = path.with_name(f".{path.name}.tmp")
        self._mesh = _number(mesh, comm)
        self._names: tuple[str, ...] = ()
        self._last: dict[str, tuple[bytes, int]] = {}
        self._file: h5py.File
        if until is not None:
            self._names = self._on_root(lambda: self._take_up(until))
            return
        points = gather(comm, mesh.geometry.x[: self._mesh.owned_points])[self._mesh.points]
        connectivity = _connectivity(mesh, self._mesh)
        values = self._gather(static or {})
        self._on_root(lambda: self._begin(points, connectivity, values))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        elif self._comm.rank == 0:
            with suppress(OSError, RuntimeError):
                self._file.close()

    def write(self, t: float, fields: Mapping[str, Stored]) -> None:
        """Append the fields at time t [s]. Collective.

        Raises:
            ValueError: The names are not those of the first time.
            SetupError: The file cannot be written.
        """
        if self._names and set(fields) != set(self._names):
            raise ValueError(f"{self._path.name} holds {self._names}, got {tuple(fields)}")
        values = self._gather(fields)
        first, self._names = not self._names, tuple(fields)
        self._on_root(lambda: self._append(t, values, first))

    def close(self) -> None:
        """End the file. Collective."""
        self._on_root(lambda: self._file.close())

    def _gather(self, fields: Mapping[str, Stored]) -> dict[str, _Values]:
        """Bring fields to rank 0, in the order of the file. Collective."""
        ways: Mapping[Kind, tuple[str, Callable[[Stored], Numbers]]] = {
            "P1": ("PointData", self._mesh.of_points),
            "DG0": ("CellData", self._mesh.of_cells),
            "DG0vector": ("CellData", self._mesh.of_vectors),
        }
        found = {}
        for name, stored in fields.items():
            group, way = ways[stored.kind]
            found[name] = _Values(group, way(stored), stored.unit)
        return found

    def _on_root[T](self, action: Callable[[], T]) -> T:
        def said() -> T:
            try:
                return action()
            except (OSError, RuntimeError) as error:
                reason = re.search(r"error message = '([^']*)'", str(error))
                raise OSError(
                    errno.EIO, reason[1] if reason else getattr(error, "strerror", None) or str(error), str(self._path)
                ) from None

        return agree(self._comm, said)

    def _begin(self, points: Numbers, connectivity: Numbers, static: Mapping[str, _Values]) -> None:
        """Create the file. It is not locked, so that a run can be looked at while it goes on."""
        self._file = h5py.File(self._beside, "w", locking=False)
        root = self._file.create_group("VTKHDF")
        root.attrs["Version"] = np.array(VERSION, dtype="i8")
        root.attrs.create("Type", b"UnstructuredGrid", dtype=h5py.string_dtype("ascii", 16))
        cells = len(connectivity)
        root["NumberOfPoints"] = np.array([len(points)], dtype="i8")
        root["NumberOfCells"] = np.array([cells], dtype="i8")
        root["NumberOfConnectivityIds"] = np.array([connectivity.size], dtype="i8")
        for name, content in (
            ("Points", points),
            ("Connectivity", connectivity.ravel()),
            ("Offsets", np.arange(0, connectivity.size + 1, 4, dtype="i8")),
            ("Types", np.full(cells, TETRAHEDRON, dtype="u1")),
        ):
            root.create_dataset(name, data=content, compression=1, shuffle=True)
        steps = root.create_group("Steps")
        steps.attrs["NSteps"] = 0
        for name, shape, kind in (
            ("Values", (), "f8"),
            *((name, (), "i8") for name in PARTS),
            *((name, (1,), "i8") for name in TOPOLOGIES),
        ):
            _growing(steps, name, shape, kind)
        for group in ("PointData", "CellData"):
            root.create_group(group)
            steps.create_group(f"{group}Offsets")
        for name, values in static.items():
            fixed = root[values.group].create_dataset(name, data=values.numbers, compression=1, shuffle=True)
            fixed.attrs["unit"] = values.unit
            _growing(steps[f"{values.group}Offsets"], name, (), "i8")

    def _take_up(self, until: float) -> tuple[str, ...]:
        """Open the file that is there, cut off later times, and return the names of the fields that change."""
        self._file = h5py.File(self._path, "r+", locking=False)
        root = self._file["VTKHDF"]
        steps = root["Steps"]
        count = _count(steps, until)
        steps.attrs["NSteps"] = count
        series = _series(root)
        for name, (dataset, size) in series.items():
            dataset.resize(_rows(steps, name, count, size), axis=0)
        for dataset in (*steps.values(), *steps["PointDataOffsets"].values(), *steps["CellDataOffsets"].values()):
            if isinstance(dataset, h5py.Dataset):
                dataset.resize(count, axis=0)
        self._file.flush()
        return tuple(series)

    def _append(self, t: float, fields: Mapping[str, _Values], first: bool) -> None:
        """Add one time; the number of steps is raised last, when all that belongs to it is there."""
        self._require_space(sum(values.numbers.nbytes for values in fields.values()))
        root = self._file["VTKHDF"]
        steps = root["Steps"]
        for name, values in fields.items():
            offsets = steps[f"{values.group}Offsets"]
            if first:
                _declare(root[values.group], name, values)
                _growing(offsets, name, (), "i8")
            series, seen = root[values.group][name], _digest(values.numbers)
            if self._last.get(name, (b"", 0))[0] != seen:
                self._last[name] = (seen, len(series))
                _extend(series, values.numbers)
            _extend(offsets[name], [self._last[name][1]])
        for group in ("PointData", "CellData"):
            for name in set(root[group]) - set(fields):
                _extend(steps[f"{group}Offsets"][name], [0])
        for name in (*PARTS, *TOPOLOGIES):
            _extend(steps[name], np.full((1, *steps[name].shape[1:]), name == "NumberOfParts", dtype="i8"))
        _extend(steps["Values"], [t])
        steps.attrs["NSteps"] += 1
        self._file.flush()
        if first:
            self._beside.replace(self._path)

    def _require_space(self, size: int) -> None:
        """Refuse a time before the disk is full, because HDF5 does not survive a write that fails."""
        if shutil.disk_usage(self._path.parent).free < size + MARGIN:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))


@dataclass(frozen=True)
class _Values:
    """A field on rank 0, in the order of the file; empty elsewhere."""

    group: str
    numbers: Numbers
    unit: str


def complaint(path: Path, time: float) -> str:
    """Say what keeps a file from being continued after a time [s] that was written; "" when nothing does."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            root = file["VTKHDF"]
            steps, series = root["Steps"], _series(root)
            count = _count(steps, time)
            there = count > 0 and steps["Values"][count - 1] == time
            whole = there and all(len(rows) >= _rows(steps, name, count, size) for name, (rows, size) in series.items())
    except (OSError, KeyError, RuntimeError):
        return f"{path.name} is missing or damaged"
    return "" if whole else f"{path.name} ends before t = {time:g} s"


def _count(steps: h5py.Group, until: float) -> int:
    """Return the number of steps up to a time [s]."""
    return int(np.searchsorted(steps["Values"][: steps.attrs["NSteps"]], until, side="right"))


def _rows(steps: h5py.Group, name: str, count: int, size: int) -> int:
    """Return the rows that a field has up to a number of steps, of `size` rows each; some may point to the same."""
    group = "PointDataOffsets" if name in steps["PointDataOffsets"] else "CellDataOffsets"
    offsets = steps[group][name][:count]
    return int(offsets.max()) + size if len(offsets) else 0


def _digest(numbers: Numbers) -> bytes:
    """Return what tells values from others."""
    return hashlib.blake2b(np.ascontiguousarray(numbers)).digest()


def _series(root: h5py.Group) -> dict[str, tuple[h5py.Dataset, int]]:
    """Return the fields that change, and how many rows each has at a time."""
    return {
        name: (dataset, int(root[number][0]))
        for group, number in (("PointData", "NumberOfPoints"), ("CellData", "NumberOfCells"))
        for name, dataset in root[group].items()
        if dataset.maxshape[0] is None
    }


def gather[S: np.generic](comm: MPI.Comm, local: NDArray[S]) -> NDArray[S]:
    """Concatenate the rows of all ranks on rank 0, in the order of the ranks; elsewhere return no rows. Collective."""
    sizes = comm.allgather(local.size)
    everything = np.empty(sum(sizes) if comm.rank == 0 else 0, dtype=local.dtype)
    comm.Gatherv(np.ascontiguousarray(local), (everything, sizes) if comm.rank == 0 else None)
    return everything.reshape(-1, *local.shape[1:])


def _number(mesh: Mesh[np.float64], comm: MPI.Comm) -> _Mesh:
    """Find the order of the file. Collective."""
    owned_points = mesh.geometry.index_map().size_local
    owned_cells = mesh.topology.index_map(3).size_local
    points = np.asarray(mesh.geometry.input_global_indices[:owned_points], dtype=np.int64)
    cells = np.asarray(mesh.topology.original_cell_index[:owned_cells], dtype=np.int64)
    return _Mesh(
        comm,
        mesh.geometry.dofmaps[0],
        len(mesh.geometry.x),
        owned_points,
        owned_cells,
        np.argsort(gather(comm, points)),
        np.argsort(gather(comm, cells)),
    )


def _connectivity(mesh: Mesh[np.float64], numbering: _Mesh) -> NDArray[np.int64]:
    """Return the points of each cell of the file on rank 0, shape (cells, 4). Collective."""
    ids = np.asarray(mesh.geometry.input_global_indices, dtype=np.int64)
    corners = gather(numbering.comm, ids[numbering.nodes[: numbering.owned_cells]])[numbering.cells]
    points = gather(numbering.comm, ids[: numbering.owned_points])[numbering.points]
    return np.searchsorted(points, corners)


def _declare(group: h5py.Group, name: str, values: _Values) -> None:
    """Create the dataset of a field that changes, one chunk a time."""
    shape = values.numbers.shape
    series = group.create_dataset(
        name,
        (0, *shape[1:]),
        values.numbers.dtype,
        maxshape=(None, *shape[1:]),
        chunks=(max(shape[0], 1), *shape[1:]),
        compression=1,
        shuffle=True,
    )
    series.attrs["unit"] = values.unit


def _growing(group: h5py.Group, name: str, shape: tuple[int, ...], kind: str) -> None:
    """Create an empty dataset of one row a step."""
    group.create_dataset(name, (0, *shape), kind, maxshape=(None, *shape), chunks=(256, *shape))


def _extend(dataset: h5py.Dataset, rows: Numbers | list[float] | list[int]) -> None:
    """Append rows."""
    end = len(dataset)
    dataset.resize(end + len(rows), axis=0)
    dataset[end:] = rows
