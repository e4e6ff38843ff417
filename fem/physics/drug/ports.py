"""Where regions meet: how much drug passes through each named interface.

The nodes on an interface belong to several regions. What one region's own terms make of such a node, less what it
stores there, is the rate that leaves it for its neighbors; this rate closes the ledgers of both sides. Where more than
two regions, or a surface with a prescribed concentration, meet at a node, the rates are split by the areas with which
they meet there, as currents in a network of resistors.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from turgor.fem.startup import MPI  # isort: skip  (MPI before DOLFINx)

from turgor.fem.domain import Domain, Surface
from turgor.fem.graph import Graph
from turgor.fem.nodes import from_cells, from_facets

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
WEAK = 1e-7
"""Weight, relative to a node's interfaces, of the link between regions that meet there without a common facet."""


@dataclass(frozen=True)
class Rows:
    """The rows of one region's matrices at its nodes on interfaces.

    Attributes:
        nodes: Those nodes, shape (n,).
        edges: Positions of their edges in the graph.
        place: For each edge the position of its row in `nodes`.
        transport: The region's own transport matrix on these edges.
        share: The part of each edge that lies in the region, from 0 to 1.
    """

    nodes: Ints
    edges: Ints
    place: Ints
    transport: Array
    share: Array

    def sums(self, edges: Array) -> Array:
        """Return the sums of edge values over the rows."""
        return np.bincount(self.place, edges, minlength=len(self.nodes))


class Ports:
    """The interfaces of a mesh as a network between regions, node by node."""

    def __init__(self, domain: Domain, graph: Graph, prescribed: Iterable[str], fixed: NDArray[np.bool_]) -> None:
        """Find the nodes where regions meet or a concentration is prescribed; collective.

        Args:
            domain: The mesh.
            graph: Its nodes and edges.
            prescribed: Surfaces with a prescribed concentration.
            fixed: Owned nodes on them.
        """
        self.domain, self.graph = domain, graph
        count = len(domain.regions)
        self.volume = np.stack([from_cells(domain, domain.volumes * (domain.region == i)) for i in range(count)])
        present = self.volume > 0
        self.nodes = np.flatnonzero((present.sum(axis=0) > 1) | fixed)
        self.present = present[:, self.nodes]
        self.links = self._links(frozenset(prescribed), fixed[self.nodes])
        self._inverse = self._network(count + 1)

    def rows(self, region: int, transport: Array, inside: Array, whole: Array) -> Rows:
        """Return the rows of one region.

        Args:
            region: Its index.
            transport: The region's transport matrix on all edges.
            inside: The region's mass matrix with coefficient one on all edges.
            whole: The mass matrix of all regions with coefficient one.
        """
        nodes = self.nodes[self.present[region]]
        where = np.full(self.graph.owned, -1)
        where[nodes] = np.arange(len(nodes))
        edges = np.flatnonzero(where[self.graph.row] >= 0)
        share = inside[edges] / whole[edges]
        return Rows(nodes, edges, where[self.graph.row[edges]], transport[edges], share)

    def split(self, leaving: Array) -> dict[str, dict[str, float]]:
        """Return region -> surface -> rate out of the region through it; collective.

        Args:
            leaving: What leaves each region at each node of the network [nmol/s], shape (n_regions, n_nodes).
        """
        rates = np.vstack([leaving, -leaving.sum(axis=0)]).T
        potential = np.einsum("nij,nj->ni", self._inverse, rates)
        found: dict[str, dict[str, float]] = {name: {} for name in self.domain.regions}
        for first, second, name, weight in self.links:
            current = weight * (potential[:, first] - potential[:, second])
            total = float(self.domain.comm.allreduce(float(current.sum())))
            self._add(found, first, name, total)
            if second < len(self.domain.regions):
                self._add(found, second, name, -total)
        return found

    def _add(self, found: dict[str, dict[str, float]], region: int, name: str, rate: float) -> None:
        ledger = found[self.domain.regions[region]]
        ledger[name] = ledger.get(name, 0.0) + rate

    def _links(self, prescribed: frozenset[str], fixed: NDArray[np.bool_]) -> list[tuple[int, int, str, Array]]:
        """Return (region, region or outside, surface, area at each node of the network)."""
        domain, outside = self.domain, len(self.domain.regions)
        links = []
        for surface in domain.surfaces.values():
            if surface.kind == "named" and surface.name not in prescribed:
                continue
            areas = self._areas(surface)
            sides = [domain.regions.index(side) for side in (surface.first, surface.second) if side is not None]
            if surface.name in prescribed and surface.kind == "named":
                for side in range(outside):
                    own = self._areas(surface.part(domain.region[surface.cells] == side))
                    if domain.comm.allreduce(bool(own.any()), op=MPI.LOR):
                        links.append((side, outside, surface.name, own * fixed))
            elif surface.name in prescribed:
                links += [(side, outside, surface.name, areas * fixed) for side in sides]
            elif len(sides) == 2:
                links.append((sides[0], sides[1], surface.name, areas))
        total = sum((weight for _, _, _, weight in links), np.zeros(len(self.nodes)))
        for first, second in combinations(range(outside), 2):
            both = self.present[first] & self.present[second]
            if domain.comm.allreduce(bool(both.any()), op=MPI.LOR):
                name = f"{domain.regions[first]}|{domain.regions[second]}"
                links.append((first, second, name, WEAK * both * np.where(total > 0, total, 1.0)))
        return links

    def _areas(self, surface: Surface) -> Array:
        """Return the area of a surface at each node of the network [mm²]; collective."""
        return from_facets(self.domain, surface, np.linalg.norm(surface.area_vectors, axis=1))[self.nodes]

    def _network(self, size: int) -> Array:
        """Return the pseudoinverse of each node's network, shape (n_nodes, size, size)."""
        matrix = np.zeros((len(self.nodes), size, size))
        typical = sum((weight for _, _, _, weight in self.links), np.zeros(len(self.nodes)))
        for first, second, _, weight in self.links:
            matrix[:, first, second] -= weight
            matrix[:, second, first] -= weight
        scale = np.where(typical > 0, typical, 1.0)
        matrix /= scale[:, None, None]
        for i in range(size):
            matrix[:, i, i] = -matrix[:, i].sum(axis=1)
        inverse = np.linalg.pinv(matrix, hermitian=True) if len(matrix) else matrix
        return np.asarray(inverse / scale[:, None, None])
