"""More triangles without moving the surface: longest-edge bisection to the wanted edge length."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from turgor.meshing.boundary import Boundary
from turgor.meshing.tetrahedra import Floats, Integers

MOST_ROUNDS = 200
TOO_LONG = 1.25


def refined(boundary: Boundary, target: Callable[[Boundary], Floats]) -> Boundary:
    """Split edges that are longer than wanted; the surface stays where it is.

    A triangle is split at its longest edge only, after the neighbors for which that edge is not the longest; this
    keeps angles from shrinking.

    Args:
        boundary: The surfaces.
        target: Gives the wanted edge length at each point [mm]; a point put between two gets the mean of theirs.

    Source: Rivara (1984).
    """
    wanted = target(boundary)
    for _ in range(MOST_ROUNDS):
        finer = _split_once(boundary, wanted)
        if finer is None:
            return boundary
        boundary, wanted = finer
    return boundary


def _split_once(boundary: Boundary, wanted: Floats) -> tuple[Boundary, Floats] | None:
    """Split all terminal edges on the paths of too long ones; None when no edge is too long."""
    points, triangles = boundary.points, boundary.triangles
    pairs = np.sort(np.concatenate([triangles[:, [1, 2]], triangles[:, [2, 0]], triangles[:, [0, 1]]]), axis=1)
    keys, edge = np.unique(pairs[:, 0] * len(points) + pairs[:, 1], return_inverse=True)
    ends = np.stack([keys // len(points), keys % len(points)], axis=1)
    edge = edge.reshape(3, -1).T
    length = np.linalg.norm(points[ends[:, 0]] - points[ends[:, 1]], axis=1)
    rank = np.empty(len(length), dtype=np.int64)
    rank[np.argsort(length, kind="stable")] = np.arange(len(length))
    longest = np.take_along_axis(edge, rank[edge].argmax(axis=1)[:, None], axis=1)[:, 0]
    marked = length > TOO_LONG * wanted[ends].min(axis=1)
    if not marked.any():
        return None
    split = _terminal(edge, longest, marked)
    between = wanted[ends[split]].mean(axis=1)
    return _bisected(boundary, ends, edge, longest, split), np.concatenate([wanted, between])


def _terminal(edge: Integers, longest: Integers, marked: Integers) -> Integers:
    """Return which edges are the longest of all their triangles and lie on the path of a marked one."""
    wanted = marked.copy()
    while True:
        touched = wanted[edge].any(axis=1)
        more = wanted.copy()
        more[longest[touched]] = True
        if np.array_equal(more, wanted):
            break
        wanted = more
    lone = np.ones(len(wanted), dtype=bool)
    lone[edge[edge != longest[:, None]]] = False
    return wanted & lone


def _bisected(boundary: Boundary, ends: Integers, edge: Integers, longest: Integers, split: Integers) -> Boundary:
    """Put a point in the middle of each edge that is split, and two triangles in place of each at it."""
    number = np.full(len(ends), -1, dtype=np.int64)
    number[split] = len(boundary.points) + np.arange(int(split.sum()))
    middle = boundary.points[ends[split]].mean(axis=1)
    chosen = split[longest]
    triangles, sides = boundary.triangles, boundary.sides
    old = triangles[chosen]
    at = (edge[chosen] == longest[chosen][:, None]).argmax(axis=1)
    row = np.arange(len(old))
    apex, one, two = old[row, at], old[row, (at + 1) % 3], old[row, (at + 2) % 3]
    new = number[longest[chosen]]
    return Boundary(
        np.concatenate([boundary.points, middle]),
        np.concatenate([triangles[~chosen], np.stack([apex, one, new], 1), np.stack([apex, new, two], 1)]),
        np.concatenate([sides[~chosen], sides[chosen], sides[chosen]]),
        boundary.parts,
    )
