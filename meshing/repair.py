"""Slivers mended in place, and surface points that give way a little where that alone helps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from turgor.meshing.boundary import Boundary
from turgor.meshing.mending import mend
from turgor.meshing.offset import ENOUGH, Volumes
from turgor.meshing.sizes import vertex_sizes
from turgor.meshing.sliding import slide
from turgor.meshing.slivers import Cells, Scratch, link, new_scratch
from turgor.meshing.tetrahedra import Floats, Integers, positive

WANTED = 12.0
"""Smallest dihedral angle aimed at [degrees]."""

BETTER = (20.0, 30.0, 25.0)
"""Smallest angles [degrees] aimed at around cells that no move betters, so that moves are found."""

SLACK = 0.1
"""How far a point of a surface may move, in units of the edges at it."""

VOLUME_ROUNDS = 4
ROUNDS = 15
ROOM = 0.05
"""Room for new points and cells, as a share of those there are."""

LOOKS, LOOKS_PER_CELL = 20_000, 1
"""How many bad cells are looked at, all rounds together, before what is there is taken."""


@dataclass
class Effort:
    """How much may still be done, so that hopeless cells do not take for ever.

    Attributes:
        left: Cells that may still be looked at.
    """

    left: int

    def spent_on(self, bad: Integers) -> Integers:
        """Return as many of some cells as may be looked at, and count them."""
        some = bad[: self.left]
        self.left -= len(some)
        return some


def repaired(points: Floats, cells: Integers, part: Integers, boundary: Boundary) -> tuple[Floats, Integers, Integers]:
    """Lift the smallest dihedral angles.

    Points of surfaces move only where nothing else helps, by a small part of an edge, and so that volumes stay; those
    of surfaces that the user gave never do.

    Args:
        points: Those of the boundary first, shape (n, 3).
        cells: Shape (m, 4).
        part: By cell, shape (m,).
        boundary: The surfaces.

    Returns:
        Points (those of the boundary first, new ones last), positively oriented cells and their parts.
    """
    state = _cells(points, positive(points, cells), part, boundary.triangles)
    room = new_scratch(_offsets())
    wanted, start, slack = float(np.cos(np.radians(WANTED))), boundary.points, np.zeros(0)
    effort = Effort(LOOKS + LOOKS_PER_CELL * len(cells))
    state = _mended(state, wanted, room, effort)
    for better in BETTER:
        bad = _worse_than(state, wanted)
        if not len(bad):
            break
        near = _around(state, bad)
        state = _mended(state, float(np.cos(np.radians(better))), room, effort, near)
        state = _mended(state, wanted, room, effort)
        if len(_worse_than(state, wanted)) and not boundary.given:
            slack = slack if len(slack) else _slack(boundary)
            if slide(state, near[near < len(start)], start, slack, wanted, room):
                state = _mended(state, wanted, room, effort)
    if len(slack):
        state.points[: len(start)] = _with_old_volumes(state.points[: len(start)], slack, boundary)
    return _result(state)


def _slack(boundary: Boundary) -> Floats:
    """Return how far each point of the surfaces may move [mm]; those on cut faces stay."""
    slack = SLACK * vertex_sizes(boundary.points, boundary.triangles)
    cut = np.array([part.kind == "cut" for part in boundary.parts])
    slack[boundary.triangles[cut[boundary.sides].any(axis=1)]] = 0.0
    return slack


def _with_old_volumes(points: Floats, slack: Floats, boundary: Boundary) -> Floats:
    """Return moved points of the surfaces, each a tiny bit elsewhere, so that parts have the volumes they had."""
    meshed = [part.meshed for part in boundary.parts]
    wanted = np.where(meshed, boundary.part_volumes(), np.nan)
    nowhere = (np.zeros(0, dtype=np.int64), np.zeros((0, 3, 3)))
    volumes = Volumes(boundary.triangles, boundary.sides, wanted, len(points), nowhere)
    free = np.repeat((slack > 0.0).astype(np.float64)[:, None], 3, axis=1)
    for _ in range(VOLUME_ROUNDS):
        if volumes.measure(points) < ENOUGH:
            break
        points = points + volumes.step(free)
    return points


def _mended(state: Cells, wanted: float, room: Scratch, effort: Effort, near: Integers | None = None) -> Cells:
    """Mend all cells, or those near some points, until none is bad, no move helps, or it has taken long enough."""
    for _ in range(ROUNDS):
        bad = _worse_than(state, wanted)
        if near is not None:
            bad = bad[np.isin(state.cells[bad], near).any(axis=1)]
        bad = effort.spent_on(bad)
        moves = mend(state, bad, wanted, room) if len(bad) else 0
        if moves < 0:
            state = _enlarged(state)
        if moves == 0:
            break
    return state


def _around(state: Cells, bad: Integers) -> Integers:
    """Return the points of the cells that share a point with bad ones."""
    cells = state.cells[: state.used[1]][state.part[: state.used[1]] >= 0]
    return np.unique(cells[np.isin(cells, state.cells[bad]).any(axis=1)])


def _worse_than(state: Cells, wanted: float) -> Integers:
    """Return the cells whose cosine is larger than wanted, worst first."""
    used = state.used[1]
    bad = np.flatnonzero((state.part[:used] >= 0) & (state.cosine[:used] > wanted))
    return bad[np.argsort(-state.cosine[bad], kind="stable")]


def _cells(points: Floats, cells: Integers, part: Integers, triangles: Integers) -> Cells:
    """Copy a mesh to where it can change."""
    room, more = len(points) + 1, len(cells)
    fixed = np.zeros(room, dtype=np.int8)
    fixed[triangles] = 1
    state = Cells(
        np.concatenate([points, np.zeros((1, 3))]),
        cells,
        part.astype(np.int32),
        np.empty(more),
        fixed,
        np.full(room, -1, dtype=np.int32),
        np.empty(4 * more, dtype=np.int32),
        np.array([len(points), len(cells)]),
    )
    state = _enlarged(state)
    link(state, 0)
    return state


def _enlarged(state: Cells) -> Cells:
    """Return the same with more room."""
    points, cells = (1000 + int(ROOM * count) for count in state.used)

    return state._replace(
        points=_longer(state.points, points),
        cells=_longer(state.cells, cells),
        part=_longer(state.part, cells),
        cosine=_longer(state.cosine, cells),
        fixed=_longer(state.fixed, points),
        head=_longer(state.head, points),
        following=_longer(state.following, 4 * cells),
    )


def _longer[A: np.generic](array: NDArray[A], more: int) -> NDArray[A]:
    """Return an array with more rows."""
    return np.concatenate([array, np.zeros((more, *array.shape[1:]), dtype=array.dtype)])


def _result(state: Cells) -> tuple[Floats, Integers, Integers]:
    """Return the living cells and the points that they use; the given ones on surfaces keep their numbers."""
    n_points, n_cells = state.used
    alive = state.part[:n_cells] >= 0
    cells, part = state.cells[:n_cells][alive], state.part[:n_cells][alive].astype(np.int64)
    used = state.fixed[:n_points] == 1
    used[cells] = True
    number = np.cumsum(used) - 1
    return state.points[:n_points][used], number[cells], part


def _offsets() -> Floats:
    """Return trial displacements in the unit ball, always the same."""
    random = np.random.default_rng(0)
    directions = random.normal(size=(40, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return np.asarray(directions * random.uniform(0.2, 1.0, (40, 1)))
