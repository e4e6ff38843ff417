"""Small offsets of patches along their normals, so that every part has the volume that it should have."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_array, diags_array, eye_array
from scipy.sparse.linalg import spsolve

from turgor.meshing.boundary import Boundary
from turgor.meshing.crossing import crossings
from turgor.meshing.tetrahedra import Floats, Integers

ROUNDS = 4


def patch_offsets(pairs: Integers, area: Floats, missing: Floats) -> Floats:
    """Return how far each patch goes along its normal [mm], shape (p,).

    The offsets d of the patches p = (a, b) have the smallest Σ A_p d_p² with Σ_b ± A_ab d_ab = missing(a), which is a
    graph Laplacian over the parts.

    Args:
        pairs: The two sides of each patch; the normal points to the second, shape (p, 2).
        area: Of each patch, 0 for one that must stay [mm^2], shape (p,).
        missing: Volume that each part lacks, NaN where it is free [mm^3].
    """
    count, index = len(missing), np.arange(len(pairs))
    ones = np.ones(len(pairs))
    incidence = coo_array(
        (np.concatenate([ones, -ones]), (pairs.T.ravel(), np.concatenate([index, index]))), shape=(count, len(pairs))
    ).tocsr()
    keep = np.flatnonzero(np.isfinite(missing))
    potential = np.zeros(count)
    laplacian = incidence @ diags_array(area) @ incidence.T + 1e-9 * max(float(area.max()), 1e-300) * eye_array(count)
    potential[keep] = np.atleast_1d(spsolve(laplacian.tocsc()[keep][:, keep], missing[keep]))
    return np.asarray((incidence.T @ potential) * (area > 0))


def with_volumes(boundary: Boundary, wanted: Floats) -> Boundary:
    """Offset the patches until the meshed parts have the wanted volumes; keep the surfaces if they would cross.

    Args:
        boundary: Surfaces that do not cross.
        wanted: Volume of each part [mm^3]; only meshed parts count.
    """
    pairs, patch = boundary.patches()
    kinds = np.array([part.kind for part in boundary.parts])
    stays = (kinds[pairs] == "cut").any(axis=1)
    fixed = np.unique(boundary.triangles[stays[patch]])
    points = boundary.points
    moved = boundary
    for _ in range(ROUNDS):
        corner = points[boundary.triangles]
        normal = 0.5 * np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
        area = np.bincount(patch, np.linalg.norm(normal, axis=1), len(pairs)) * ~stays
        missing = np.where(kinds == "region", wanted - moved.part_volumes(), np.nan)
        if not (np.abs(missing[kinds == "region"]) > 1e-6 * wanted[kinds == "region"]).any():
            break
        shift = _pushed(boundary, patch, normal, patch_offsets(pairs, area, missing), len(pairs))
        shift[fixed] = 0.0
        points = points + shift
        moved = Boundary(points, boundary.triangles, boundary.sides, boundary.parts)
    return boundary if len(crossings(points, boundary.triangles, 1)) else moved


def _pushed(boundary: Boundary, patch: Integers, normal: Floats, offset: Floats, n_patches: int) -> Floats:
    """Return the displacement of each point: the sum of offset times unit normal over its patches."""
    key, inverse = np.unique(boundary.triangles.ravel() * n_patches + np.repeat(patch, 3), return_inverse=True)
    inverse = inverse.reshape(-1)
    along = np.stack([np.bincount(inverse, np.repeat(normal[:, i], 3), len(key)) for i in range(3)], axis=1)
    along *= (offset[key % n_patches] / np.maximum(np.linalg.norm(along, axis=1), 1e-300))[:, None]
    return np.stack([np.bincount(key // n_patches, along[:, i], len(boundary.points)) for i in range(3)], axis=1)
