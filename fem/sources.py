"""Sources in a region or in a ball, spread over the cells."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from turgor.fem.domain import Domain
from turgor.fem.maps import lattice
from turgor.fem.spec import Source
from turgor.materials.errors import CaseError, nearest

FINENESS = 4


def shares(source: Source, domain: Domain, where: str) -> NDArray[np.float64]:
    """Return the density [1/mm³] of a source of rate one on the local cells; its integral is one. Collective.

    Raises:
        CaseError: No such region, or a ball outside the mesh.
    """
    if source.in_ is not None:
        if source.in_ not in domain.regions:
            hint = nearest(source.in_, domain.regions)
            raise CaseError(f"{where}.in: the mesh has no region {source.in_!r}.{hint}")
        weights = domain.within([source.in_]).astype(float)
    else:
        weights = _in_ball(source, domain)
    total = domain.sum(weights * domain.volumes)
    if not total > 0:
        raise CaseError(f"{where}.at: the ball lies outside the mesh")
    return np.asarray(weights / total)


def _in_ball(source: Source, domain: Domain) -> NDArray[np.float64]:
    """Return the part of each cell that lies in the ball; a ball within one cell fills the cell at its center."""
    if source.at is None or source.radius is None:
        return np.zeros(len(domain.volumes))
    center = np.array([x.value for x in source.at])
    reach = np.linalg.norm(domain.points - domain.centers[:, None], axis=2).max(axis=1, initial=0.0)
    near = np.flatnonzero(np.linalg.norm(domain.centers - center, axis=1) <= reach + source.radius.value)
    points = np.einsum("pv,cvx->cpx", lattice(FINENESS), domain.points[near])
    part = np.zeros(len(reach))
    part[near] = (np.linalg.norm(points - center, axis=2) <= source.radius.value).mean(axis=1)
    if domain.sum(part) > 0:
        return np.asarray(part)
    edges = domain.points[:, 1:] - domain.points[:, :1]
    inner = np.linalg.solve(np.transpose(edges, (0, 2, 1)), (center - domain.points[:, 0])[:, :, None])[:, :, 0]
    return ((inner >= 0).all(axis=1) & (inner.sum(axis=1) <= 1)).astype(float)


def active(source: Source, time: float) -> bool:
    """Tell whether a source runs in a step that begins at a time [s]; no step passes the end of a source."""
    return source.duration is None or time < source.duration.value


__all__ = ["active", "shares"]
