"""Small moves of surfaces after which every part has the volume that it should have.

Of all moves x of the points with Σ g_a · x = missing(a) for each part a, g_a the gradient of its volume, the smallest
is x = W Σ λ_a g_a with (Σ g_a · W g_b) λ = missing: Newton for volumes, W being how freely each point moves.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_array, eye_array
from scipy.sparse.linalg import spsolve

from turgor.meshing.boundary import Boundary
from turgor.meshing.crossing import crossings
from turgor.meshing.gradients import Levers, displacements, levers_of, products, volume_gradients
from turgor.meshing.tetrahedra import Floats, Integers

ENOUGH = 1e-9
"""Relative error of volumes at which the rounds end."""

ROUNDS = 8
BACKING_OFF = 12
LESS = 0.3
"""Factor of the freedom of points whose triangles cross, each time."""


class Volumes:
    """Moves the points of a complex towards the volumes wanted.

    Attributes:
        levers: The complex.
        wanted: Volume of each part, NaN where it is free, shape (parts,).
        error: Relative error of each part at the points last measured, 0 where it is free.
    """

    def __init__(
        self, faces: Integers, sides: Integers, wanted: Floats, n_points: int, held: tuple[Integers, Floats]
    ) -> None:
        """Find which points act on which parts.

        Args:
            faces: Shape (f, 3) or (f, 4).
            sides: Part on either side, shape (f, 2).
            wanted: Shape (parts,).
            n_points: Number of points.
            held: Points, and the projection onto the directions in which each may move, shape (k, 3, 3).
        """
        self.levers: Levers = levers_of(faces, sides, n_points)
        self.wanted = wanted
        self.error = np.zeros(len(wanted))
        self._missing = np.zeros(len(wanted))
        self._kept = np.flatnonzero(np.isfinite(wanted) & (np.bincount(sides.ravel(), minlength=len(wanted)) > 0))
        self._gradient = np.zeros((len(self.levers.part), 3))
        row = np.full(n_points, -1)
        row[held[0]] = np.arange(len(held[0]))
        self._held = np.flatnonzero(row[self.levers.point] >= 0)
        self._projection = held[1][row[self.levers.point[self._held]]]

    def measure(self, points: Floats) -> float:
        """Take volumes and gradients; return the largest relative error."""
        held = np.zeros(len(self.wanted))
        volume_gradients(points - points.mean(axis=0), self.levers, held, self._gradient)
        self._gradient[self._held] = np.einsum("nij,nj->ni", self._projection, self._gradient[self._held])
        self._missing[self._kept] = (self.wanted - held)[self._kept]
        self.error = np.abs(self._missing) / np.where(self.wanted > 0, self.wanted, 1.0)
        return float(self.error.max(initial=0.0))

    def step(self, freedom: Floats) -> Floats:
        """Return the smallest move of the points that makes up for what was measured, shape (n, 3).

        Args:
            freedom: W, 0 for a point that stays, shape (n, 3).
        """
        count = len(self.wanted)
        row, column, value = products(self.levers, self._gradient, freedom, count)
        matrix = coo_array((value, (row, column)), shape=(count, count)).tocsc()[self._kept][:, self._kept]
        largest = float(np.abs(value).max(initial=0.0))
        if largest == 0.0:
            return np.zeros_like(freedom)
        potential = np.zeros(count)
        steady = matrix + 1e-12 * largest * eye_array(len(self._kept))
        potential[self._kept] = np.atleast_1d(spsolve(steady.tocsc(), self._missing[self._kept]))
        return displacements(self.levers, self._gradient, freedom, potential)


def with_volumes(boundary: Boundary, wanted: Floats) -> Boundary:
    """Move the surfaces until the meshed parts have the wanted volumes.

    Where triangles come to cross, their points go back and move less from then on, in the end not at all; cut faces
    stay flat.

    Args:
        boundary: Surfaces that do not cross.
        wanted: Volume of each part [mm^3]; only meshed parts count.
    """
    kinds = np.array([part.kind for part in boundary.parts])
    volumes = Volumes(
        boundary.triangles,
        boundary.sides,
        np.where(kinds == "region", wanted, np.nan),
        len(boundary.points),
        _planes(boundary, kinds),
    )
    start = boundary.points
    freedom = np.ones(len(start))
    for _ in range(BACKING_OFF):
        points = start.copy()
        for _ in range(ROUNDS):
            if volumes.measure(points) < ENOUGH:
                break
            points += volumes.step(np.repeat(freedom[:, None], 3, axis=1))
        crossing = crossings(points, boundary.triangles, 100_000)
        if not len(crossing):
            return Boundary(points, boundary.triangles, boundary.sides, boundary.parts)
        at = np.unique(boundary.triangles[crossing.ravel()])
        freedom[at] = np.where(freedom[at] < LESS**2, 0.0, LESS * freedom[at])
    return boundary


def _planes(boundary: Boundary, kinds: Integers) -> tuple[Integers, Floats]:
    """Return the points on cut faces, and the projection onto the directions in which each stays on its faces."""
    cut = boundary.triangles[(kinds[boundary.sides] == "cut").any(axis=1)]
    corner = boundary.points[cut]
    normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-300)
    points, number = np.unique(cut, return_inverse=True)
    spread = np.zeros((len(points), 3, 3))
    np.add.at(spread, number.reshape(-1), np.repeat(normal[:, :, None] * normal[:, None, :], 3, axis=0))
    size, axes = np.linalg.eigh(spread)
    free = (size < 1e-6) * 1.0
    return points, np.einsum("nij,nj,nkj->nik", axes, free, axes)
