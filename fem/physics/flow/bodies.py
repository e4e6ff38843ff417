"""The tumors of a mesh as bodies: their regions, the facets of their outer surface, and the distance from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from turgor.fem.domain import OPPOSITE, Domain, Surface
from turgor.fem.flux import DarcyFlux
from turgor.fem.physics.flow.ledger import outward
from turgor.meshing.distance import to_triangles

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Patch:
    """The part of a surface that bounds a body.

    Attributes:
        surface: The surface.
        region: The region on the body's side.
        passable: Which facets of it let fluid pass; all of an interface, those with a condition of an outer surface.
    """

    surface: Surface
    region: str
    passable: NDArray[np.bool_]

    def areas(self) -> Array:
        """Return the areas of the facets that fluid may pass [mm²]."""
        return np.asarray(np.linalg.norm(self.surface.area_vectors, axis=1)[self.passable])

    def rates(self, flux: DarcyFlux) -> Array:
        """Return the volume rates out of the body through these facets [mm³/s]."""
        return outward(flux, self.surface, self.region)[self.passable]


@dataclass(frozen=True)
class Body:
    """A tumor: regions that touch each other, with the cores inside.

    Attributes:
        name: Of the first region that bounds it.
        regions: In the order of the mesh.
        inside: Which local cells belong to it.
        patches: Its outer surface, that which is cut off by the image apart.
        distance: Signed distance [mm] of the nodes of `Domain.space` from its outer surface, negative inside.
        depth: The largest distance inside [mm].
    """

    name: str
    regions: tuple[str, ...]
    inside: NDArray[np.bool_]
    patches: tuple[Patch, ...]
    distance: Array
    depth: float


def bodies_of(domain: Domain, tumors: Iterable[str], sealed: Mapping[str, NDArray[np.bool_]]) -> tuple[Body, ...]:
    """Find the tumors of a mesh; collective.

    Args:
        domain: The mesh.
        tumors: Regions that count as tumor.
        sealed: Outer surface -> which of its facets let nothing pass.
    """
    found = []
    for regions in grouped(domain, tumors):
        inside = domain.within(regions)
        patches = _patches(domain, regions, sealed)
        distance = _distance(domain, regions, inside, patches)
        nodes = distance[np.asarray(domain.space.dofmap.list)[: domain.owned]]
        depth = max(domain.comm.allgather(float(-nodes.min(initial=0.0))))
        outermost = [name for name in regions if name in {patch.region for patch in patches}]
        found.append(Body([*outermost, *regions][0], regions, inside, patches, distance, depth))
    return tuple(found)


def grouped(domain: Domain, tumors: Iterable[str]) -> tuple[tuple[str, ...], ...]:
    """Return the regions of each tumor: those that touch, necrosis beside them, and what they enclose."""
    tumor = [name for name in domain.regions if name in set(tumors)]
    around: dict[str, set[str]] = {name: set() for name in domain.regions}
    for surface in domain.surfaces.values():
        if surface.kind == "named":
            continue
        around[surface.first].add(surface.second or "")
        if surface.second is not None:
            around[surface.second].add(surface.first)
    cores = [
        name
        for name, others in around.items()
        if name not in tumor and others & set(tumor) and (others <= set(tumor) or "necro" in name.lower())
    ]
    left, groups = [*tumor, *cores], []
    while left:
        group, grown = {left[0]}, True
        while grown:
            more = {name for name in left if name not in group and around[name] & group}
            group, grown = group | more, bool(more)
        left = [name for name in left if name not in group]
        first = [name for name in tumor if name in group]
        groups.append((*first, *(name for name in cores if name in group)))
    return tuple(groups)


def _patches(domain: Domain, regions: tuple[str, ...], sealed: Mapping[str, NDArray[np.bool_]]) -> tuple[Patch, ...]:
    """Return the parts of surfaces that lie between the body and what is not the body."""
    found = []
    for surface in domain.surfaces.values():
        sides = [side in regions for side in (surface.first, surface.second)]
        if surface.kind in ("named", "cut") or sum(sides) != 1:
            continue
        region = surface.first if sides[0] else str(surface.second)
        closed = sealed.get(surface.name, np.zeros(len(surface.cells), bool))
        found.append(Patch(surface, region, ~closed))
    return tuple(found)


def _distance(domain: Domain, regions: tuple[str, ...], inside: NDArray[np.bool_], patches: tuple[Patch, ...]) -> Array:
    """Return the signed distance of each node: as the mesh has it for one region, else to the nearest facet."""
    if len(regions) == 1 and regions[0] in domain.distances:
        return domain.distances[regions[0]]
    corners = np.concatenate([np.zeros((0, 3, 3)), *(_triangles(domain, patch.surface) for patch in patches)])
    triangles = np.concatenate(domain.comm.allgather(corners))
    nodes = np.asarray(domain.space.tabulate_dof_coordinates())
    far = to_triangles(nodes, triangles) if len(triangles) else np.zeros(len(nodes))
    within = np.zeros(len(nodes), bool)
    within[np.asarray(domain.space.dofmap.list)[inside]] = True
    return np.where(within, -far, far)


def _triangles(domain: Domain, surface: Surface) -> Array:
    """Return the corners of a surface's facets [mm], shape (n, 3, 3)."""
    corners = domain.points[surface.cells]
    return np.take_along_axis(corners, OPPOSITE[surface.opposite][:, :, None], axis=1)
