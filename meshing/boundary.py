"""The surfaces between parts: triangles that know what lies on either side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from turgor.meshing.tetrahedra import Floats, Integers


@dataclass(frozen=True, slots=True)
class Part:
    """What fills one side of a triangle.

    Attributes:
        name: Region or cavity name, "outside" or "cut".
        kind: "region" (it is meshed), "cavity", "outside" or "cut".
    """

    name: str
    kind: str

    @property
    def meshed(self) -> bool:
        """Whether tetrahedra fill it."""
        return self.kind == "region"


@dataclass(frozen=True)
class Boundary:
    """A triangulated complex: all surfaces between connected parts, at least one of them meshed.

    Attributes:
        points: Coordinates [mm], shape (n, 3).
        triangles: Shape (t, 3); the normal points from the first side to the second.
        sides: Index into `parts` on either side, first < second, shape (t, 2).
        parts: One entry for each connected piece of a region, cavity or void; equal entries are pieces of one.
        given: Whether the triangles are the user's, so that their points stay where they are.
    """

    points: Floats
    triangles: Integers
    sides: Integers
    parts: tuple[Part, ...]
    given: bool = False

    def patches(self) -> tuple[Integers, Integers]:
        """Return the distinct pairs of sides, shape (p, 2), and the index of the pair by triangle, shape (t,)."""
        key = self.sides[:, 0] * len(self.parts) + self.sides[:, 1]
        found, index = np.unique(key, return_inverse=True)
        return np.stack([found // len(self.parts), found % len(self.parts)], axis=1), index.reshape(-1)

    def part_volumes(self) -> Floats:
        """Return the volume enclosed by the triangles of each part [mm^3]; only meaningful for meshed parts."""
        corner = self.points[self.triangles] - self.points.mean(axis=0)
        signed = np.einsum("ij,ij->i", np.cross(corner[:, 0], corner[:, 1]), corner[:, 2]) / 6.0
        count = len(self.parts)
        return np.asarray(np.bincount(self.sides[:, 0], signed, count) - np.bincount(self.sides[:, 1], signed, count))

    def of(self, name: str) -> Integers:
        """Return the triangles of the surface of a region: those with the region on exactly one side."""
        inside = np.array([part.name == name for part in self.parts])
        return np.asarray(self.triangles[inside[self.sides[:, 0]] != inside[self.sides[:, 1]]])

    def cleaned(self) -> Boundary:
        """Drop triangles between two parts that are not meshed, and points that nothing uses."""
        meshed = np.array([part.meshed for part in self.parts])
        kept = meshed[self.sides].any(axis=1)
        used, triangles = np.unique(self.triangles[kept], return_inverse=True)
        return Boundary(self.points[used], triangles.reshape(-1, 3), self.sides[kept], self.parts)
