"""The mesh with its names: regions, surfaces, distances. Integers of tags never leave this module.

A domain is read from the HDF5 file that `turgor.meshing` writes. Each rank reads its share of points and cells;
names travel by the file's own cell and point numbers, so nothing depends on the partition.
"""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import basix.ufl
import h5py
import numpy as np
import ufl
from numpy.typing import NDArray

from turgor.fem.startup import MPI  # isort: skip  (MPI before DOLFINx)

from dolfinx import cpp, fem
from dolfinx import mesh as dmesh

from turgor.fem.partition import by_coordinates
from turgor.materials.errors import CaseError, nearest

Array = NDArray[np.float64]
Ints = NDArray[np.int32]
OPPOSITE = np.array([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])
"""Vertices of the facet opposite each vertex of a tetrahedron."""


@dataclass(frozen=True)
class Surface:
    """Facets with a name.

    Attributes:
        name: "a|b", "a|outside", "a|cut", "a|cavity", or a name of the user's own mesh.
        kind: "interface", "outside", "cut", "cavity" or "named".
        first: The region from which area vectors point outward.
        second: The region on the other side of an interface, else None.
        cells: Local cell on the side of `first`, shape (n,); each facet is listed on one rank.
        opposite: Index of the vertex of that cell opposite the facet, shape (n,).
        area_vectors: Area times unit normal [mm²], out of `first`, shape (n, 3).
        midpoints: Barycenters [mm], shape (n, 3).
        area: Total area [mm²], over all ranks.
        beyond: Local cell on the other side, shape (n,); `cells` again where there is none.
        beyond_opposite: Index of the vertex of that cell opposite the facet.
    """

    name: str
    kind: str
    first: str
    second: str | None
    cells: Ints
    opposite: Ints
    area_vectors: Array
    midpoints: Array
    area: float
    beyond: Ints
    beyond_opposite: Ints

    @property
    def places(self) -> Ints:
        """A number for each facet that tells it from all others of this rank, by cell and vertex."""
        return np.asarray(4 * self.cells + self.opposite, dtype=np.int32)

    def part(self, chosen: NDArray[np.bool_]) -> Surface:
        """Return some of the facets under the same name; the area stays that of the whole."""
        arrays = ("cells", "opposite", "area_vectors", "midpoints", "beyond", "beyond_opposite")
        return replace(self, **{name: getattr(self, name)[chosen] for name in arrays})


class Domain:
    """The mesh, its regions and its surfaces, distributed over the ranks of a communicator.

    Attributes:
        mesh: The DOLFINx mesh; ghost cells share a facet with an owned one.
        comm: Its communicator.
        file: The file it was read from.
        hash: Identity of the mesh.
        regions: Names; `region` holds indices into them.
        region: Region of each local cell, ghosts included, shape (n_cells,).
        piece: Connected piece of each local cell.
        owned: Number of cells that this rank owns; they come first.
        points: Vertices of each local cell [mm], shape (n_cells, 4, 3).
        volumes: Volume of each local cell [mm³].
        centers: Barycenter of each local cell [mm].
        surfaces: By name.
        space: The continuous piecewise linear functions.
        distances: Region -> signed distance [mm] to its surface, on the dofs of `space`.
    """

    def __init__(self, file: Path, comm: MPI.Comm) -> None:
        """Read a mesh; collective. Use `Domain.read`, which agrees on errors."""
        self.file = file
        self.comm = comm
        with h5py.File(file, "r") as h5:
            self.hash = str(h5.attrs["hash"])
            self.regions: tuple[str, ...] = tuple(json.loads(h5.attrs["regions"]))
            self.mesh = _distribute(h5, comm)
            topology = self.mesh.topology
            self.owned = int(topology.index_map(3).size_local)
            order = np.asarray(topology.original_cell_index)
            self.region = _pick(h5["region"], order).astype(np.int32)
            self.piece = _pick(h5["piece"], order).astype(np.int32)
            self.space = fem.functionspace(self.mesh, ("Lagrange", 1))
            self.points = self.mesh.geometry.x[self.mesh.geometry.dofmaps[0]]
            self.volumes = _volumes(self.points)
            self.centers: Array = sum(self.points[:, corner] for corner in range(1, 4)) + self.points[:, 0]
            self.centers /= 4
            self.surfaces = _surfaces(self, h5)
            self.distances = {name: self._to_dofs(h5["distance"][name]) for name in h5.get("distance", {})}

    @classmethod
    def read(cls, file: Path, comm: MPI.Comm) -> Domain:
        """Read the mesh file on all ranks of a communicator.

        Raises:
            CaseError: There is no such file, or it is not a mesh of turgor.
        """
        complaint = comm.bcast(_complaint(file) if comm.rank == 0 else "", root=0)
        if complaint:
            raise CaseError(complaint)
        return cls(file, comm)

    def match(self, patterns: Iterable[str], where: str) -> tuple[str, ...]:
        """Return the names of surfaces that stand behind patterns such as "*|outside" or "b|a".

        Raises:
            CaseError: Nothing matches; names the nearest surface.
        """
        found: dict[str, None] = {}
        for pattern in patterns:
            names = [*fnmatch.filter(self.surfaces, pattern), *fnmatch.filter(self.surfaces, turned(pattern))]
            found.update(dict.fromkeys(names))
        if not found:
            asked = ", ".join(repr(pattern) for pattern in patterns)
            hint = nearest(next(iter(patterns), ""), self.surfaces)
            raise CaseError(f"{where}: the mesh has no surface {asked}; it has {', '.join(self.surfaces)}.{hint}")
        return tuple(found)

    def surface(self, name: str, where: str) -> tuple[Surface, int]:
        """Return the surface of that name, and -1 when it is named from its other side, else 1."""
        if name in self.surfaces:
            return self.surfaces[name], 1
        (found,) = self.match([name], where)
        return self.surfaces[found], -1

    def within(self, regions: Iterable[str] | None) -> NDArray[np.bool_]:
        """Return which local cells lie in the named regions; all when None."""
        if regions is None:
            return np.ones(len(self.region), bool)
        chosen = [self.regions.index(name) for name in regions]
        return np.isin(self.region, chosen)

    def sum(self, values: Array) -> float:
        """Return the sum over the owned cells of all ranks."""
        return float(self.comm.allreduce(float(values[: self.owned].sum())))

    def by_region(self, values: Array) -> Array:
        """Return the sum over the cells of each region, all ranks together, shape (n_regions,)."""
        local = np.bincount(self.region[: self.owned], values[: self.owned], minlength=len(self.regions))
        return np.asarray(self.comm.allreduce(local, op=MPI.SUM))

    def _to_dofs(self, stored: Any) -> Array:
        """Return a point field of the file on the dofs of `space`."""
        values = _pick(stored, np.asarray(self.mesh.geometry.input_global_indices))
        field = np.zeros(self.space.dofmap.index_map.size_local + self.space.dofmap.index_map.num_ghosts)
        field[self.space.dofmap.list] = values[self.mesh.geometry.dofmaps[0]]
        return field


def _complaint(file: Path) -> str:
    """Say why a file cannot be read; nothing when it can."""
    if not file.is_file():
        return f"{file}: there is no mesh; run `turgor mesh` first"
    try:
        with h5py.File(file, "r") as h5:
            whole = all(len(h5[name]) for name in ("points", "cells", "region", "piece", "facets/vertices"))
            if whole and {"hash", "regions", "surfaces"} <= set(h5.attrs):
                return ""
    except (OSError, KeyError, TypeError):
        pass
    return f"{file}: not a mesh file of turgor; remove it and run `turgor mesh`"


def turned(name: str) -> str:
    """Return "b|a" for "a|b"."""
    first, bar, second = name.partition("|")
    return f"{second}{bar}{first}"


def _pick(stored: Any, numbers: NDArray[np.int64]) -> NDArray[Any]:
    """Return the rows `numbers` of a dataset, reading only the span that holds them."""
    if not len(numbers):
        return np.asarray(stored[:0])
    low, high = int(numbers.min()), int(numbers.max()) + 1
    return np.asarray(stored[low:high])[numbers - low]


def _share(total: int, comm: MPI.Comm) -> slice:
    """Return this rank's share of `total` rows."""
    bounds = [total * rank // comm.size for rank in (comm.rank, comm.rank + 1)]
    return slice(*bounds)


def _distribute(h5: h5py.File, comm: MPI.Comm) -> dmesh.Mesh[np.float64]:
    """Create the distributed mesh from this rank's share of the file.

    DOLFINx's own `create_mesh` would look at each cell as a Python object before it sees that they are an array; a
    list of one flat array is taken at once, and gives the same mesh.
    """
    stored = h5["points"]
    cells = np.asarray(h5["cells"][_share(len(h5["cells"]), comm)], dtype=np.int64)
    points = np.asarray(stored[_share(len(stored), comm)], dtype=np.float64)
    partitioner = by_coordinates(comm, np.asarray(stored), len(stored)) if comm.size > 1 else None
    element = basix.ufl.element("Lagrange", "tetrahedron", 1, shape=(3,), dtype=np.float64)
    linear = fem.coordinate_element(dmesh.CellType.tetrahedron, 1, dtype=np.float64)
    made = cpp.mesh.create_mesh(comm, [cells.ravel()], [linear._cpp_object], points, partitioner, 2)
    mesh: dmesh.Mesh[np.float64] = dmesh.Mesh(made, ufl.Mesh(element))
    mesh.topology.create_entities(2)
    mesh.topology.create_connectivity(3, 2)
    mesh.topology.create_connectivity(2, 3)
    return mesh


def _volumes(points: Array) -> Array:
    """Return the volume of each tetrahedron [mm³] from its vertices, shape (n, 4, 3)."""
    (a, b, c), (d, e, f), (g, h, i) = (
        [points[:, corner, axis] - points[:, 0, axis] for axis in range(3)] for corner in (1, 2, 3)
    )
    return np.asarray(np.abs(a * (e * i - f * h) + b * (f * g - d * i) + c * (d * h - e * g)) / 6)


def _hash_rows(rows: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return a number for each row of three vertex numbers, equal for equal rows."""
    key = rows.astype(np.uint64)
    mixed = key[:, 0] * np.uint64(0x9E3779B97F4A7C15) ^ key[:, 1] * np.uint64(0xC2B2AE3D27D4EB4F)
    return np.asarray(mixed * np.uint64(0x165667B19E3779F9) + key[:, 2] * np.uint64(0xD6E8FEB86659FD93))


def _surfaces(domain: Domain, h5: h5py.File) -> Mapping[str, Surface]:
    """Find the facets of each named surface among those that this rank owns."""
    vertices = np.sort(np.asarray(h5["facets/vertices"][:], dtype=np.int64), axis=1)
    tags = np.asarray(h5["facets/surface"][:])
    facets, mine = _candidates(domain, vertices, len(h5["points"]))
    keys = _hash_rows(mine)
    order = np.argsort(keys)
    place = np.minimum(np.searchsorted(keys, _hash_rows(vertices), sorter=order), max(len(facets) - 1, 0))
    at = order[place] if len(facets) else np.zeros(0, np.int64)
    here = np.flatnonzero((mine[at] == vertices[: len(at)]).all(axis=1))
    at, tags = at[here], tags[here]
    found: dict[str, Surface] = {}
    for tag, entry in enumerate(json.loads(h5.attrs["surfaces"])):
        chosen = np.unique(facets[at[tags == tag]]).astype(np.int32)
        found[entry["name"]] = _surface(domain, entry["name"], entry["kind"], chosen)
    return found


def _candidates(domain: Domain, vertices: NDArray[np.int64], n_points: int) -> tuple[Ints, NDArray[np.int64]]:
    """Return this rank's own facets that have all vertices on named surfaces, and their point numbers, ascending."""
    mesh, topology = domain.mesh, domain.mesh.topology
    numbers = np.asarray(mesh.geometry.input_global_indices)
    named = np.zeros(n_points, bool)
    named[vertices] = True
    node = np.zeros(topology.index_map(0).size_local + topology.index_map(0).num_ghosts, np.int32)
    node[topology.connectivity(3, 0).array] = mesh.geometry.dofmaps[0].ravel()
    corners = topology.connectivity(2, 0).array.reshape(-1, 3)[: topology.index_map(2).size_local]
    facets = np.flatnonzero(named[numbers[node]][corners].all(axis=1)).astype(np.int32)
    return facets, np.sort(numbers[node[corners[facets]]], axis=1)


def _surface(domain: Domain, name: str, kind: str, facets: Ints) -> Surface:
    """Gather the geometry of a surface's facets, seen from its first region."""
    topology = domain.mesh.topology
    to_cells, to_facets = topology.connectivity(2, 3), topology.connectivity(3, 2)
    first, second = _sides(domain, name, kind, facets)
    one, other = to_cells.array[to_cells.offsets[facets]], to_cells.array[to_cells.offsets[facets + 1] - 1]
    numbers = np.asarray(topology.original_cell_index)
    before = (domain.region[one] < domain.region[other]) | (
        (domain.region[one] == domain.region[other]) & (numbers[one] <= numbers[other])
    )
    cells = np.where(before, one, other).astype(np.int32)  # the same whatever the partition
    beyond = (one + other - cells).astype(np.int32)
    rows = to_facets.array.reshape(-1, 4)
    opposite, back = (np.argmax(rows[side] == facets[:, None], axis=1).astype(np.int32) for side in (cells, beyond))
    corners = domain.points[cells]
    triangle = np.take_along_axis(corners, OPPOSITE[opposite][:, :, None], axis=1)
    vectors = 0.5 * np.cross(triangle[:, 1] - triangle[:, 0], triangle[:, 2] - triangle[:, 0])
    midpoints = triangle.mean(axis=1)
    inward = np.einsum("ij,ij->i", vectors, corners[np.arange(len(cells)), opposite] - midpoints) > 0
    vectors[inward] *= -1
    area = float(domain.comm.allreduce(float(np.linalg.norm(vectors, axis=1).sum())))
    return Surface(name, kind, first, second, cells, opposite, vectors, midpoints, area, beyond, back)


def _sides(domain: Domain, name: str, kind: str, facets: Ints) -> tuple[str, str | None]:
    """Return the regions on both sides of a surface; for a name of the user's own, those found there."""
    first, _, second = name.partition("|")
    if kind != "named":
        return first, second if kind == "interface" else None
    to_cells = domain.mesh.topology.connectivity(2, 3)
    ends = to_cells.offsets[facets + 1] - 1
    local = np.unique(domain.region[to_cells.array[np.concatenate([to_cells.offsets[facets], ends])]])
    inner = bool(np.any(ends > to_cells.offsets[facets]))
    names = [domain.regions[index] for index in sorted({int(i) for part in domain.comm.allgather(local) for i in part})]
    inner = domain.comm.allreduce(inner, op=MPI.LOR)
    return (names[0] if names else "", names[-1] if inner and names else None)
