"""Geometry read off a grid: surfaces of regions, the middle of the tumor, distance from it, sections.

Heavy (PyVista): import it inside functions. Coordinates are RAS millimeters: x to the right of the patient, y to the
front, z up. Sections are drawn as radiologists look at them: from the feet, from the front and from the left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from turgor.postprocess.offscreen import pv
from turgor.postprocess.run import Run

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class View:
    """A plane of section: its normal axis, and the world axes that point right and up on paper, with signs."""

    name: str
    normal: int
    right: tuple[int, int]
    up: tuple[int, int]
    letters: tuple[str, str, str, str]

    def flat(self, points: Floats) -> Floats:
        """Return coordinates on paper [mm], shape (n, 2)."""
        columns = [points[:, axis] * sign for axis, sign in (self.right, self.up)]
        return np.column_stack(columns)


AXIAL = View("axial", 2, (0, -1), (1, 1), ("R", "L", "P", "A"))
CORONAL = View("coronal", 1, (0, -1), (2, 1), ("R", "L", "I", "S"))
SAGITTAL = View("sagittal", 0, (1, -1), (2, 1), ("A", "P", "I", "S"))
VIEWS = (AXIAL, CORONAL, SAGITTAL)
"""Letters stand left, right, below and above of the picture."""


@dataclass(frozen=True)
class Section:
    """A plane cut through the mesh.

    Attributes:
        view: Which plane.
        at: Coordinate of the plane along its normal [mm].
        points: On paper [mm], shape (n, 2).
        triangles: Shape (m, 3).
        region: Of each triangle, shape (m,).
        outlines: Segments between regions and around the body, shape (k, 2, 2).
        mesh: The cut itself, with all fields.
    """

    view: View
    at: float
    points: Floats
    triangles: Ints
    region: Ints
    outlines: Floats
    mesh: pv.PolyData


Kind = Literal["outside", "large", "inner", "tumor", "core"]


@dataclass(frozen=True)
class Part:
    """A sheet of surface, drawn in the color of one region.

    Attributes:
        region: Whose color.
        group: What it is switched with, as a reader would call it.
        kind: Outside of the body, between normal regions (the inner one "large", or not), around the tumor, or in it.
        surface: Triangles.
    """

    region: str
    group: str
    kind: Kind
    surface: pv.PolyData


class Anatomy:
    """A run's grid with the geometry that figures ask for."""

    def __init__(self, run: Run, grid: pv.UnstructuredGrid) -> None:
        """Keep the grid; everything else is computed when asked for."""
        self.run = run
        self.grid = grid

    @cached_property
    def cells(self) -> Ints:
        """Vertices of each tetrahedron, shape (m, 4); higher-order nodes are left out."""
        connectivity = np.asarray(self.grid.cell_connectivity, dtype=np.int64)
        return connectivity.reshape(self.grid.n_cells, -1)[:, :4]

    @cached_property
    def region(self) -> Ints:
        """Index of the region of each cell."""
        return np.asarray(self.grid.cell_data["region"]).astype(np.int64).ravel()

    @cached_property
    def in_tumor(self) -> NDArray[np.bool_]:
        """Cells of the tumor's body."""
        return np.isin(self.region, [self.run.regions.index(name) for name in self.tumor])

    @cached_property
    def volumes(self) -> Floats:
        """Volume of each cell [mm^3]."""
        corner = np.asarray(self.grid.points, dtype=np.float64)[self.cells]
        return np.asarray(np.abs(np.linalg.det(corner[:, 1:] - corner[:, :1])) / 6.0)

    @cached_property
    def focus(self) -> Floats:
        """The point that sections go through: in the tumor, as near as can be to its middle [mm]."""
        chosen = self.in_tumor if self.in_tumor.any() else np.ones(len(self.region), dtype=np.bool_)
        middles = np.asarray(self.grid.points, dtype=np.float64)[self.cells[chosen]].mean(axis=1)
        weights = self.volumes[chosen]
        middle = (weights[:, None] * middles).sum(axis=0) / weights.sum()
        nearest = middles[np.argmin(((middles - middle) ** 2).sum(axis=1))]
        size = float(np.cbrt(weights.sum()))
        return np.asarray(middle if np.linalg.norm(nearest - middle) < 0.2 * size else nearest)

    @cached_property
    def tumor_extent(self) -> float:
        """Largest half width of the tumor's box [mm]; of the body when there is no tumor."""
        chosen = self.in_tumor if self.in_tumor.any() else np.ones(len(self.region), dtype=np.bool_)
        corner = np.asarray(self.grid.points)[np.unique(self.cells[chosen])]
        return float(np.ptp(corner, axis=0).max() / 2)

    @property
    def aside(self) -> float:
        """How far sections stand from the focus [mm]: a plane that holds faces of the mesh would cut them twice."""
        return 0.00789 * self.tumor_extent

    def surface(self, names: Sequence[str] | None = None) -> pv.PolyData:
        """Return the closed surface of regions together, or of the whole body."""
        grid = self.grid
        if names is not None:
            indices = [self.run.regions.index(name) for name in names]
            grid = grid.extract_cells(np.flatnonzero(np.isin(self.region, indices)).tolist())
        return as_surface(grid.extract_surface(algorithm="dataset_surface", nonlinear_subdivision=0).triangulate())

    @cached_property
    def _faces(self) -> tuple[Ints, Ints, Ints]:
        """Faces that bound a region: vertices (k, 3), turned outward from `first`; regions `first` and `second`.

        `first` is the lower index except that it is the only one on the outside, where `second` is -1.
        """
        corners = self.cells[:, [[1, 2, 3], [0, 3, 2], [0, 1, 3], [0, 2, 1]]].reshape(-1, 3)
        owner = np.repeat(self.region, 4)
        key = np.sort(corners, axis=1)
        order = np.lexsort((key[:, 2], key[:, 1], key[:, 0]))
        same = (key[order][1:] == key[order][:-1]).all(axis=1)
        paired = np.zeros(len(order), dtype=np.bool_)
        paired[:-1] |= same
        paired[1:] |= same
        alone = order[~paired]
        one, other = order[:-1][same], order[1:][same]
        flip = owner[one] > owner[other]
        low, high = np.where(flip, other, one), np.where(flip, one, other)
        apart = owner[low] != owner[high]
        chosen = np.concatenate([alone, low[apart]])
        second = np.concatenate([np.full(len(alone), -1), owner[high[apart]]])
        return corners[chosen], owner[chosen], second

    def sheet(self, first: Sequence[str], second: Sequence[str] | None) -> pv.PolyData:
        """Return the surface between two sets of regions, or between the first and the outside (None).

        Each sheet is drawn once, so that two regions never fight for the same pixels.
        """
        faces, low, high = self._faces
        ours = np.array([self.run.regions.index(name) for name in first], dtype=np.int64)
        theirs = np.array([self.run.regions.index(name) for name in second or ()], dtype=np.int64)
        if second is None:
            chosen = np.isin(low, ours) & (high < 0)
        else:
            chosen = (np.isin(low, ours) & np.isin(high, theirs)) | (np.isin(low, theirs) & np.isin(high, ours))
        used, index = np.unique(faces[chosen], return_inverse=True)
        points = np.asarray(self.grid.points, dtype=np.float64)[used]
        return pv.PolyData.from_regular_faces(points, index.reshape(-1, 3).tolist()) if len(used) else pv.PolyData()

    @cached_property
    def tumor(self) -> tuple[str, ...]:
        """The regions of the tumor's body: those that count as tumor, necrosis, and what the first enclose."""
        body = set(self.run.tumor)
        if not body:
            return ()
        _, first, second = self._faces
        pairs = {(int(a), int(b)) for a, b in np.unique(np.column_stack([first, second]), axis=0)}
        for index, name in enumerate(self.run.regions):
            around = {a + b - index for a, b in pairs if index in (a, b)}
            enclosed = bool(around) and all(i >= 0 and self.run.regions[i] in self.run.tumor for i in around)
            if enclosed or "necro" in name.lower():
                body.add(name)
        return tuple(name for name in self.run.regions if name in body)

    def parts(self) -> list[Part]:
        """Return the sheets that together show every region, each of one region's color, from outside in."""
        regions, tumor = self.run.regions, self.tumor
        normal = [name for name in regions if name not in tumor]
        sizes = dict(zip(regions, np.bincount(self.region, self.volumes, len(regions)), strict=True))
        parts = [Part(name, "outer surface", "outside", self.sheet([name], None)) for name in normal]
        for i, a in enumerate(normal):
            for b in normal[i + 1 :]:
                inner = min((a, b), key=sizes.__getitem__)
                kind: Kind = "large" if sizes[inner] > 0.1 * sum(sizes.values()) else "inner"
                parts.append(Part(inner, inner, kind, self.sheet([a], [b])))
        for i, name in enumerate(tumor):
            sheets = [sheet for sheet in (self.sheet([name], normal), self.sheet([name], None)) if sheet.n_cells]
            outer = as_surface(sheets[0].merge(sheets[1:])) if len(sheets) > 1 else (*sheets, pv.PolyData())[0]
            parts.append(Part(name, name, "tumor", outer))
            for other in tumor[i + 1 :]:
                inner = min((name, other), key=sizes.__getitem__)
                parts.append(Part(inner, inner, "core", self.sheet([name], [other])))
        return [part for part in parts if part.surface.n_cells]

    @cached_property
    def tumor_distance(self) -> Floats | None:
        """Signed distance of each node to the outer surface of the whole tumor [mm], negative inside; None without one.

        The solver's own distance is taken when one region is the tumor. Several regions, a core in a rim, count as one
        body, and the surface between them does not matter.
        """
        if not self.in_tumor.any():
            return None
        name = f"distance.{self.tumor[0]}"
        if len(self.tumor) == 1 and name in self.grid.point_data:
            return np.asarray(self.grid.point_data[name], dtype=np.float64)
        shell = self.surface(self.tumor)
        points = np.asarray(self.grid.points, dtype=np.float64)
        found = shell.find_closest_cell(points, return_closest_point=True)
        assert isinstance(found, tuple)
        distance = np.linalg.norm(points - np.asarray(found[1]), axis=1)
        inside = np.zeros(len(points), dtype=np.bool_)
        inside[np.unique(self.cells[self.in_tumor])] = True
        return np.asarray(np.where(inside, -distance, distance))

    def section(self, view: View, grid: pv.UnstructuredGrid | None = None) -> Section:
        """Cut the grid, or that of another time, through the focus."""
        normal = np.zeros(3)
        normal[view.normal] = 1.0
        origin = self.focus + normal * self.aside
        mesh = (grid or self.grid).slice(normal=normal, origin=origin).triangulate()
        triangles = np.asarray(mesh.faces, dtype=np.int64).reshape(-1, 4)[:, 1:]
        region = np.asarray(mesh.cell_data["region"]).astype(np.int64).ravel()
        points = view.flat(np.asarray(mesh.points, dtype=np.float64))
        outlines = _outlines(points, triangles, region)
        return Section(view, float(origin[view.normal]), points, triangles, region, outlines, mesh)


def _outlines(points: Floats, triangles: Ints, region: Ints) -> Floats:
    """Return the edges that lie between two regions or on one triangle only, shape (k, 2, 2)."""
    edges = np.sort(triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    owner = np.repeat(region, 3)
    unique, inverse, count = np.unique(edges, axis=0, return_inverse=True, return_counts=True)
    inverse = inverse.ravel()
    lowest, highest = np.full(len(unique), np.iinfo(np.int64).max), np.full(len(unique), -1, dtype=np.int64)
    np.minimum.at(lowest, inverse, owner)
    np.maximum.at(highest, inverse, owner)
    return np.asarray(points[unique[(count == 1) | (lowest != highest)]])


def as_surface(made: object) -> pv.PolyData:
    """Return what a filter made, which is a surface here, with its type."""
    assert isinstance(made, pv.PolyData)
    return made


def smooth(surface: pv.PolyData) -> pv.PolyData:
    """Return a surface with normals at its nodes; its orientation is kept."""
    return as_surface(surface.compute_normals(cell_normals=False, split_vertices=False, consistent_normals=False))


def node_average(section_mesh: pv.PolyData, field: str) -> Floats:
    """Return a cell field of a section averaged to its nodes."""
    averaged = section_mesh.cell_data_to_point_data(pass_cell_data=False)
    return np.asarray(averaged.point_data[field], dtype=np.float64)
