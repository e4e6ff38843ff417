"""Fields against the signed distance from the surface of the tumor, weighted by volume.

Heavy (PyVista): import it inside functions.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from turgor.postprocess.anatomy import Anatomy

Floats = NDArray[np.float64]

_QUADRATURE = np.full((4, 4), 0.1381966011250105) + np.eye(4) * (0.5854101966249685 - 0.1381966011250105)
"""Barycentric points of the rule of four points and degree two on a tetrahedron."""


@dataclass(frozen=True)
class Profile:
    """A field against distance, by bins.

    Attributes:
        distance: Middle of each bin, volume-weighted [mm]; negative inside the tumor.
        mean: Volume-weighted mean in the bin.
        low: Volume-weighted 5th percentile.
        high: Volume-weighted 95th percentile.
        volume: Tissue in the bin [mm^3].
    """

    distance: Floats
    mean: Floats
    low: Floats
    high: Floats
    volume: Floats


def profile(anatomy: Anatomy, field: Floats, *, reach: float | None = None) -> Profile | None:
    """Bin a nodal field by the distance from the tumor's surface.

    Args:
        anatomy: The grid.
        field: One value a node.
        reach: How far outside the tumor to go [mm]; by default three times the depth of the tumor, at least 5 mm.

    Returns:
        The profile, or None when the run has no tumor.
    """
    distance = anatomy.tumor_distance
    if distance is None:
        return None
    depth = -float(distance.min())
    outer = min(reach or max(3.0 * depth, 5.0), float(distance.max()))
    cells = anatomy.cells
    near = distance[cells].min(axis=1) <= outer
    where = (distance[cells[near]] @ _QUADRATURE).ravel()
    values = (np.asarray(field, dtype=np.float64)[cells[near]] @ _QUADRATURE).ravel()
    weights = np.repeat(anatomy.volumes[near] / 4.0, 4)
    around = np.linspace(0.0, outer, 41)[1:] if outer > 1e-3 * depth else np.array([1e-9 * depth])
    edges = np.concatenate([np.linspace(-depth, 0.0, 25), around])
    return _binned(where, values, weights, edges)


def _binned(where: Floats, values: Floats, weights: Floats, edges: Floats) -> Profile:
    """Return means and percentiles; bins that hold fewer than eight points are left out."""
    rows = []
    for low, high in pairwise(edges):
        chosen = (where >= low) & (where < high)
        if int(chosen.sum()) < 8:
            continue
        w, v = weights[chosen], values[chosen]
        total = float(w.sum())
        rows.append((
            float(w @ where[chosen]) / total, float(w @ v) / total, *weighted_percentiles(v, w, (5.0, 95.0)), total
        ))  # fmt: skip
    columns = np.array(rows, dtype=np.float64).reshape(-1, 5).T
    return Profile(*columns)


def weighted_percentiles(values: Floats, weights: Floats, percents: tuple[float, ...]) -> tuple[float, ...]:
    """Return percentiles of values that stand for unequal volumes."""
    order = np.argsort(values)
    share = np.cumsum(weights[order]) - 0.5 * weights[order]
    return tuple(float(x) for x in np.interp(np.array(percents) / 100.0 * weights.sum(), share, values[order]))
