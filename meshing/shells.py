"""The pieces of one surface: which way they face, which lies in which, and the closed shells they are."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from turgor.meshing.clean import Ledger, Skin, pieces_of, signed_volumes
from turgor.meshing.tetrahedra import Floats, Integers
from turgor.meshing.winding import dipoles_of, windings

MOST_NESTED = 64
"""Of so many pieces, the largest, it is found out which lies in which."""

SAMPLES = 16


@dataclass(frozen=True)
class Shell:
    """One connected closed surface, normals outward.

    Attributes:
        points: Shape (n, 3) [mm].
        triangles: Shape (t, 3).
        source: Index of the surface of the case that it belongs to.
        volume: What it encloses [mm^3].
    """

    points: Floats
    triangles: Integers
    source: int
    volume: float


def faced(skin: Skin, where: str, ledger: Ledger) -> Skin:
    """Turn the pieces of a surface outward, and those that lie in an odd number of others inward: they are holes.

    Args:
        skin: Neighbors agree on the outer side.
        where: The surface, for sentences.
        ledger: Is told how many triangles of pieces that are no holes were turned; a hole may face either way.
    """
    piece = pieces_of(skin.triangles, len(skin.points))
    volume = np.bincount(piece, signed_volumes(skin.points, skin.triangles))
    center = skin.points.mean(axis=0)
    vector = np.cross(skin.corners[:, 1] - skin.corners[:, 0], skin.corners[:, 2] - skin.corners[:, 0]) / 6.0
    count = np.bincount(piece)
    middle = np.stack([np.bincount(piece, skin.corners.mean(axis=1)[:, i]) / count for i in range(3)], axis=1)
    volume -= sum((middle[:, i] - center[i]) * np.bincount(piece, vector[:, i]) for i in range(3))
    hole = _depths(skin, piece, volume) % 2 == 1
    inward = volume < 0
    wrong = (inward & ~hole)[piece]
    if wrong.any():
        ledger.add(where, f"{int(wrong.sum()):,} triangles of shells that faced inward turned")
    triangles = skin.triangles.copy()
    turned = (inward != hole)[piece]
    triangles[turned] = triangles[turned][:, ::-1]
    return replace(skin, triangles=triangles)


def _depths(skin: Skin, piece: Integers, volume: Floats) -> Integers:
    """Return in how many larger pieces each piece lies with all of its vertices that were looked at."""
    depth = np.zeros(len(volume), dtype=np.int64)
    large = np.argsort(-np.abs(volume), kind="stable")[:MOST_NESTED].tolist()
    if len(large) < 2:
        return depth
    corners = [skin.points[skin.triangles[piece == index]] for index in large]
    low = np.array([c.min(axis=(0, 1)) for c in corners])
    high = np.array([c.max(axis=(0, 1)) for c in corners])
    for j, outer in enumerate(corners):
        within = [i for i in range(j + 1, len(large)) if (low[i] >= low[j]).all() and (high[i] <= high[j]).all()]
        if not within:
            continue
        tree = dipoles_of(outer if volume[large[j]] > 0 else outer[:, ::-1])
        for i in within:
            some = corners[i][:: max(len(corners[i]) // SAMPLES, 1), 0]
            depth[large[i]] += int((windings(tree, some) > 0.5).all())
    return depth


def shells_of(skin: Skin, source: int) -> list[Shell]:
    """Return the closed pieces of a surface, each with normals outward."""
    piece = pieces_of(skin.triangles, len(skin.points))
    order = np.argsort(piece, kind="stable")
    shells = []
    for own in np.split(skin.triangles[order], np.cumsum(np.bincount(piece))[:-1]):
        used, triangles = np.unique(own, return_inverse=True)
        points, triangles = skin.points[used], triangles.reshape(-1, 3)
        volume = float(signed_volumes(points, triangles).sum())
        shells.append(Shell(points, triangles[:, ::-1] if volume < 0 else triangles, source, abs(volume)))
    return shells


def identical(one: Shell, two: Shell, within: float) -> bool:
    """Say whether two shells have the same vertices."""
    if len(one.points) != len(two.points):
        return False
    return bool(np.abs(_sorted(one.points, within) - _sorted(two.points, within)).max() <= within)


def _sorted(points: Floats, within: float) -> NDArray[np.float64]:
    """Return points in an order that rounding does not change."""
    key = np.round(points / (20.0 * within))
    return np.asarray(points[np.lexsort(key.T)])
