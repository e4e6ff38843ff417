"""What of a label image is in a mesh: pieces, contacts and volumes of both, by a way that shares no code with turgor.

Pieces of an image are connected through faces of voxels, pieces of a mesh through faces of cells. A piece of the mesh
is the piece of the image with which it shares the most volume, each at most once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Edge = frozenset[object]


@dataclass(frozen=True)
class Comparison:
    """What is different, in words, and by how much volumes are off [percent], by piece (name, number)."""

    differences: list[str]
    errors: Mapping[tuple[str, int], float]
    voxels: Mapping[tuple[str, int], int]


def _image_pieces(values: NDArray[np.integer], names: Mapping[str, list[int]]) -> tuple[NDArray[np.int64], list[str]]:
    """Number the pieces of the named labels by voxel, 0 for what is not named; return their names."""
    pieces = np.zeros(values.shape, dtype=np.int64)
    called = ["outside"]
    for name, labels in names.items():
        found, count = ndimage.label(np.isin(values, labels))
        pieces[found > 0] = found[found > 0] + len(called) - 1
        called += [name] * count
    return pieces, called


def _image_contacts(pieces: NDArray[np.int64], called: list[str], cavities: set[str]) -> set[Edge]:
    """Return pairs of pieces that share a voxel face; what is not meshed counts by its name."""

    def node(piece: int) -> object:
        return called[piece] if piece == 0 or called[piece] in cavities else piece

    found: set[Edge] = set()
    for axis in range(3):
        moved = np.moveaxis(pieces, axis, 0)
        pairs = np.unique(np.stack([moved[:-1].ravel(), moved[1:].ravel()], axis=1), axis=0)
        found |= {frozenset((node(a), node(b))) for a, b in pairs.tolist() if node(a) != node(b)}
        for end in (0, -1):
            found |= {frozenset((node(p), "cut")) for p in np.unique(moved[end]).tolist() if p != 0}
    return {pair for pair in found if any(isinstance(side, int) for side in pair)}


def _mesh(path: Path) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64], list[str], dict[bytes, str]]:
    """Return points, cells, region by cell, region names, and what lies beyond each named outer facet."""
    with h5py.File(path, "r") as file:
        points, cells, region = file["points"][()], file["cells"][()].astype(np.int64), file["region"][()].astype(int)
        regions = json.loads(file.attrs["regions"])
        surfaces = json.loads(file.attrs["surfaces"])
        facets, owner = np.sort(file["facets/vertices"][()].astype(np.int64), axis=1), file["facets/surface"][()]
    beyond = {}
    for facet, surface in zip(facets, owner.tolist(), strict=True):
        if surfaces[surface]["kind"] in ("outside", "cut", "cavity"):
            beyond[facet.tobytes()] = surfaces[surface]["name"].split("|")[1]
    return points, cells, region, regions, beyond


def _faces(cells: NDArray[np.int64]) -> tuple[NDArray[np.int64], ...]:
    """Return the corners of each face, a cell at it, the other (or the same) one, and how many there are."""
    faces = np.sort(cells[:, [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]]].reshape(-1, 3), axis=1)
    rows, inverse, count = np.unique(faces, axis=0, return_inverse=True, return_counts=True)
    order = np.argsort(inverse.reshape(-1), kind="stable")
    start = np.cumsum(np.append(0, count))[:-1]
    return rows, order[start] // 4, order[np.minimum(start + count - 1, len(order) - 1)] // 4, count


def compare(
    values: NDArray[np.integer],
    affine: NDArray[np.float64],
    names: Mapping[str, list[int]],
    mesh: Path,
    cavities: frozenset[str] = frozenset(),
) -> Comparison:
    """Compare a label image with the mesh that was made from it."""
    pieces, called = _image_pieces(values, names)
    wanted = [p for p in range(1, len(called)) if called[p] not in cavities]
    points, cells, region, regions, beyond = _mesh(mesh)
    corner = points[cells]
    volume = np.abs(np.linalg.det(corner[:, 1:] - corner[:, :1])) / 6
    rows, one, two, count = _faces(cells)
    same = (count == 2) & (region[one] == region[two])
    link = coo_array((np.ones(int(same.sum())), (one[same], two[same])), shape=(len(cells), len(cells)))
    n_found, body = connected_components(link, directed=False)
    body_region = np.zeros(n_found, dtype=int)
    body_region[body] = region
    inside = np.linalg.inv(affine)
    at = np.rint(corner.mean(axis=1) @ inside[:3, :3].T + inside[:3, 3]).astype(int)
    at = np.clip(at, 0, np.array(values.shape) - 1)
    overlap = coo_array((volume, (body, pieces[tuple(at.T)])), shape=(n_found, len(called))).toarray()
    for b in range(n_found):
        overlap[b, [called[p] != regions[body_region[b]] for p in range(len(called))]] = 0.0
    found, assigned = linear_sum_assignment(overlap, maximize=True)
    piece_of = {int(b): int(p) for b, p in zip(found, assigned, strict=True) if overlap[b, p] > 0}
    differences = [f"piece {p} of {called[p]} is lost" for p in wanted if p not in piece_of.values()]
    differences += [f"{regions[body_region[b]]} has a piece too many" for b in range(n_found) if b not in piece_of]
    contacts = set()
    for face, a, b, n in zip(rows, one.tolist(), two.tolist(), count.tolist(), strict=True):
        left: object = piece_of.get(int(body[a]), "new")
        right: object = piece_of.get(int(body[b]), "new") if n == 2 else beyond.get(face.tobytes(), "nothing")
        if left != right:
            contacts.add(frozenset((left, right)))

    def said(pair: Edge) -> str:
        return " and ".join(sorted(f"{called[s]} {s}" if isinstance(s, int) else str(s) for s in pair))

    truth = _image_contacts(pieces, called, set(cavities))
    differences += [f"contact lost: {said(pair)}" for pair in truth - contacts]
    differences += [f"contact gained: {said(pair)}" for pair in contacts - truth]
    voxel = abs(float(np.linalg.det(affine[:3, :3])))
    size = np.bincount(pieces.ravel(), minlength=len(called))
    held = np.bincount(body, volume, n_found)
    errors = {(called[p], p): 100.0 * (held[b] / (size[p] * voxel) - 1.0) for b, p in piece_of.items()}
    return Comparison(differences, errors, {(called[p], p): int(size[p]) for p in wanted})
