"""How long edges should be: by region, graded between, fine at leaky rims, coarse where nothing happens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from turgor.meshing.boundary import Boundary
from turgor.meshing.spec import MeshSpec
from turgor.meshing.tetrahedra import Floats, Integers

GROWTH = 0.4
"""Growth of the edge length per distance."""

CELL_VOLUME = 0.11
"""Volume of an average cell in units of the cube of the wanted edge length."""


@dataclass(frozen=True)
class Sizes:
    """Wanted edge lengths [mm].

    Attributes:
        inside: Largest edge length in each region.
        rim: Edge length on the surface of each region; it grows away from there.
    """

    inside: Mapping[str, float]
    rim: Mapping[str, float]

    def times(self, factor: float) -> Sizes:
        """Return sizes that are larger everywhere."""
        inside, rim = ({name: factor * size for name, size in part.items()} for part in (self.inside, self.rim))
        return Sizes(inside, rim)


def sizes_of(spec: MeshSpec, rim: Mapping[str, float], extent: float, layers: float = 3.0) -> Sizes:
    """Return the sizes that a case asks for.

    Args:
        spec: The mesh of the case.
        rim: Region -> 1/α [mm], the thickness of the pressure boundary layer at its rim.
        extent: Diagonal of the anatomy's bounding box [mm].
        layers: Cells across a pressure layer.

    Returns:
        With explicit sizes those, and for regions without one the coarse size; with "auto" 1/(α layers) at each rim.
    """
    coarse = extent / 12.0
    names = spec.regions() or ()
    if spec.size == "auto":
        fine = {name: min(thickness / layers, coarse) for name, thickness in rim.items() if name in names}
        return Sizes({name: coarse for name in names}, fine)
    given = {name: length.value for name, length in spec.size.items()}
    largest = max(coarse, *given.values())
    return Sizes({name: given.get(name, largest) for name in names}, given)


@dataclass(frozen=True)
class SizeMap:
    """Edge length anywhere, from edge lengths at points: min over the points of size + growth x distance.

    Points are sorted into classes of similar size, so that the nearest of each class is enough.
    """

    trees: tuple[cKDTree, ...]
    values: tuple[Floats, ...]
    growth: float
    largest: float

    @classmethod
    def of(cls, points: Floats, values: Floats, largest: float, growth: float = GROWTH) -> SizeMap:
        """Sort points into classes that differ by a factor of 1.5.

        Args:
            points: Shape (n, 3).
            values: Edge length at each [mm], shape (n,).
            largest: Nothing is larger than this [mm].
            growth: Of the edge length, per distance.
        """
        values = np.minimum(values, largest)
        bins = np.floor(np.log(values) / np.log(1.5)).astype(np.int64)
        groups = [np.flatnonzero(bins == value) for value in np.unique(bins)]
        return cls(
            tuple(cKDTree(points[group]) for group in groups), tuple(values[group] for group in groups), growth, largest
        )

    def at(self, points: Floats) -> Floats:
        """Return the edge length at each point [mm], shape (n,)."""
        sizes = np.full(len(points), self.largest)
        for tree, values in zip(self.trees, self.values, strict=True):
            reach = (self.largest - values.min()) / self.growth
            distance, nearest = tree.query(points, distance_upper_bound=reach + 1e-12)
            found = np.isfinite(distance)
            sizes[found] = np.minimum(sizes[found], values[nearest[found]] + self.growth * distance[found])
        return sizes


@dataclass(frozen=True)
class Octree:
    """A size map as nested cubes, each leaf about as wide as the edges wanted in it.

    Attributes:
        origin: Lowest corner [mm], shape (3,).
        width: Of the root [mm].
        child: First of eight children, ordered by x, y, z with z fastest; -1 for a leaf, shape (o,).
        size: Edge length at the center [mm], shape (o,).
    """

    origin: Floats
    width: float
    child: Integers
    size: Floats


_STEPS = np.array([[i >> 2 & 1, i >> 1 & 1, i & 1] for i in range(8)], dtype=np.float64)


def octree(points: Floats, sizes: SizeMap) -> Octree:
    """Refine cubes around points until none is wider than the edges wanted at its center."""
    low, high = points.min(axis=0), points.max(axis=0)
    width = float((high - low).max()) * 1.02
    origin = (low + high) / 2.0 - width / 2.0
    corners, side = origin[None, :], width
    child, values, total = [], [], 1
    while len(corners):
        size = sizes.at(corners + side / 2.0)
        split = side > size
        first = np.full(len(corners), -1, dtype=np.int64)
        first[split] = total + 8 * np.arange(int(split.sum()))
        total += 8 * int(split.sum())
        child.append(first)
        values.append(size)
        side /= 2.0
        corners = (corners[split][:, None, :] + side * _STEPS[None, :, :]).reshape(-1, 3)
    return Octree(origin, width, np.concatenate(child), np.concatenate(values))


def vertex_sizes(points: Floats, triangles: Integers) -> Floats:
    """Return the mean length of the edges at each point [mm]; points without edges get the mean of all."""
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    length = np.linalg.norm(points[edges[:, 0]] - points[edges[:, 1]], axis=1)
    both, twice = edges.ravel(), np.repeat(length, 2)
    count = np.bincount(both, minlength=len(points))
    total = np.bincount(both, twice, len(points))
    return np.where(count > 0, total / np.maximum(count, 1), length.mean())


def surface_targets(boundary: Boundary, sizes: Sizes) -> Floats:
    """Return the edge length wanted at each point of the surfaces [mm], shape (n,)."""
    largest = max(sizes.inside.values())
    target = np.full(len(boundary.points), largest)
    for name, size in sizes.rim.items():
        own = np.unique(boundary.of(name))
        if len(own):
            reached = SizeMap.of(boundary.points[own], np.full(len(own), size), largest)
            target = np.minimum(target, reached.at(boundary.points))
    for name, limit in sizes.inside.items():
        own = np.unique(boundary.of(name))
        target[own] = np.minimum(target[own], limit)
    return target
