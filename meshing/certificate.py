"""The certificate of a mesh: what of the segmentation is in it, how good the cells are, what was repaired."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from turgor.materials.errors import MeshQualityError, SegmentationError
from turgor.meshing.formats import replacing
from turgor.meshing.tetrahedra import (
    Floats,
    Tetrahedra,
    areas,
    dihedral_angles,
    edge_lengths,
    radius_ratio,
    volumes,
)

Json = Mapping[str, object]

SMALLEST_DIHEDRAL = 0.05
"""Cells flatter than this [degrees] cannot be computed with."""

VOLUME_TOLERANCE = 0.02
SLACK_VOXELS = 4.0
COARSE_TOLERANCE = 0.15


@dataclass(frozen=True)
class Origin:
    """What a mesh is measured against.

    Attributes:
        volumes: Volume of each region as segmented [mm^3].
        voxels: Number of voxels of each region; empty for surfaces.
        contacts: Pairs of names that touch in the segmentation.
        coarse: Whether the working grid is coarser than the image, so that volumes are only reported.
        cell: Volume of a voxel [mm^3]; 0 for surfaces.
        repairs: What was changed, one sentence each.
    """

    volumes: Mapping[str, float]
    voxels: Mapping[str, int]
    contacts: frozenset[tuple[str, str]]
    coarse: bool
    cell: float
    repairs: tuple[str, ...]


def certify(mesh: Tetrahedra, origin: Origin) -> tuple[dict[str, object], list[str]]:
    """Measure a mesh against its segmentation.

    Returns:
        The certificate, and warnings, one sentence each.

    Raises:
        SegmentationError: A region is missing, or its volume is off.
        MeshQualityError: A cell is inverted or flat.
    """
    cell_volumes = volumes(mesh.points, mesh.cells)
    if not (cell_volumes > 0).all():
        raise MeshQualityError(f"{int((cell_volumes <= 0).sum())} cells of the mesh are inverted or flat")
    quality = _quality(mesh)
    smallest = min(entry["dihedral_min"] for entry in quality.values())
    if smallest < SMALLEST_DIHEDRAL:
        raise MeshQualityError(
            f"the flattest cell has a dihedral angle of {smallest:.2g} degrees; "
            "set a smaller mesh.size where regions are thin"
        )
    flat = sum(int(entry["below_5_degrees"]) for entry in quality.values())
    achieved = np.bincount(mesh.region, cell_volumes, len(mesh.regions))
    regions: dict[str, object] = {}
    warnings: list[str] = []
    if flat:
        warnings.append(f"{flat} cells have a dihedral angle below 5 degrees, the smallest {smallest:.2g}")
    body = np.average(mesh.points[mesh.cells].mean(axis=1), axis=0, weights=cell_volumes)
    for index, name in enumerate(mesh.regions):
        warnings += _volume_complaint(name, float(achieved[index]), origin)
        regions[name] = {
            "cells": int((mesh.region == index).sum()),
            **_volumes(name, float(achieved[index]), origin),
            "side": side_of(mesh, index, cell_volumes, body),
            **quality[name],
        }
    contacts = {_ordered(*s.name.split("|")) for s in mesh.surfaces if s.kind != "named"}
    warnings += _contact_complaints(origin.contacts, contacts) if origin.contacts else []
    return {
        "regions": regions,
        "surfaces": _surfaces(mesh),
        "contacts": {
            "segmentation": sorted("|".join(pair) for pair in origin.contacts),
            "mesh": sorted("|".join(pair) for pair in contacts),
        },
        "points": len(mesh.points),
        "cells": len(mesh.cells),
        "pieces": int(mesh.piece.max()) + 1,
        "dihedral_min": smallest,
        "cells_below_10_degrees": sum(int(entry["below_10_degrees"]) for entry in quality.values()),
        "repairs": list(origin.repairs),
        "warnings": warnings,
    }, warnings


def _ordered(one: str, two: str) -> tuple[str, str]:
    """Return a pair that does not depend on the order of its names."""
    return (one, two) if one < two else (two, one)


def _quality(mesh: Tetrahedra) -> dict[str, dict[str, float]]:
    """Return dihedral angles [degrees], radius ratios and edge lengths [mm] by region."""
    found = {}
    for index, name in enumerate(mesh.regions):
        cells = mesh.cells[mesh.region == index]
        if not len(cells):
            raise SegmentationError(f"region {name!r} has no cells in the mesh; set a smaller mesh.size for it")
        angles = dihedral_angles(mesh.points, cells)
        smallest, ratio = angles.min(axis=1), radius_ratio(mesh.points, cells)
        edges = np.percentile(edge_lengths(mesh.points, cells), (5, 50, 95))
        found[name] = {
            "dihedral_min": float(smallest.min()),
            "dihedral_p1": float(np.percentile(smallest, 1)),
            "dihedral_max": float(angles.max()),
            "below_5_degrees": int((smallest < 5).sum()),
            "below_10_degrees": int((smallest < 10).sum()),
            "radius_ratio_min": float(ratio.min()),
            "radius_ratio_mean": float(ratio.mean()),
            "edge_p5_mm": float(edges[0]),
            "edge_p50_mm": float(edges[1]),
            "edge_p95_mm": float(edges[2]),
        }
    return found


def _volumes(name: str, achieved: float, origin: Origin) -> dict[str, float | None]:
    """Return voxels, volumes [mm^3] and error [%] of a region."""
    wanted = origin.volumes.get(name)
    return {
        "voxels": origin.voxels.get(name),
        "volume_segmented_mm3": wanted,
        "volume_mesh_mm3": achieved,
        "volume_error_percent": 100.0 * (achieved / wanted - 1.0) if wanted else None,
    }


def _volume_complaint(name: str, achieved: float, origin: Origin) -> list[str]:
    """Raise when a volume is off; return a warning when a coarse grid explains it."""
    wanted = origin.volumes.get(name, 0.0)
    slack = max(VOLUME_TOLERANCE * wanted, SLACK_VOXELS * origin.cell)
    off = achieved - wanted
    if not wanted or abs(off) <= slack:
        return []
    sentence = (
        f"region {name!r} has {achieved:.4g} mm^3 in the mesh and {wanted:.4g} mm^3 in the segmentation "
        f"({100 * off / wanted:+.1f} %)"
    )
    if origin.coarse and abs(off) <= max(COARSE_TOLERANCE * wanted, slack):
        return [f"{sentence}; set a smaller mesh.size to follow it closer"]
    mend = "set a smaller mesh.size for it, or merge_below where it falls into single voxels"
    raise SegmentationError(f"{sentence}; {mend}")


def _contact_complaints(wanted: frozenset[tuple[str, str]], achieved: set[tuple[str, str]]) -> list[str]:
    """Return a warning for each contact that the mesh lost or made."""
    lost = [
        f"{' and '.join(pair)} touch in the segmentation, but not in the mesh" for pair in sorted(wanted - achieved)
    ]
    made = [
        f"{' and '.join(pair)} touch in the mesh, but not in the segmentation" for pair in sorted(achieved - wanted)
    ]
    return lost + made


def _surfaces(mesh: Tetrahedra) -> list[dict[str, object]]:
    """Return name, kind, number of facets and area of each surface."""
    area = np.bincount(mesh.facet_surface, areas(mesh.points, mesh.facets), len(mesh.surfaces))
    count = np.bincount(mesh.facet_surface, minlength=len(mesh.surfaces))
    return [
        {"name": s.name, "kind": s.kind, "facets": int(count[i]), "area_mm2": float(area[i])}
        for i, s in enumerate(mesh.surfaces)
    ]


def side_of(mesh: Tetrahedra, index: int, cell_volumes: Floats, body: Floats) -> str:
    """Say where a region lies: patient's left or right, and where within the meshed body.

    Args:
        mesh: The mesh.
        index: Of the region.
        cell_volumes: Shape (m,).
        body: Center of all cells [mm], shape (3,).
    """
    own = mesh.region == index
    center = np.average(mesh.points[mesh.cells[own]].mean(axis=1), axis=0, weights=cell_volumes[own])
    words = (("left", "right"), ("back", "front"), ("bottom", "top"))
    extent = np.ptp(mesh.points, axis=0)
    inside = [words[i][int(center[i] > body[i])] for i in range(3) if abs(center[i] - body[i]) > 0.02 * extent[i]]
    place = ", ".join(inside) if inside else "at the center"
    side = "left" if center[0] < 0 else "right"
    return (
        f"{place} of the meshed body (patient's directions); center at x = {center[0]:.1f}, y = {center[1]:.1f}, "
        f"z = {center[2]:.1f} mm in RAS, patient's {side} of x = 0"
    )


def write(path: Path, content: Json) -> None:
    """Write the certificate as JSON."""
    with replacing(path) as part:
        part.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read(path: Path) -> dict[str, object]:
    """Read a certificate; empty when there is none."""
    if not path.is_file():
        return {}
    content: dict[str, object] = json.loads(path.read_text(encoding="utf-8"))
    return content


def summary(content: Json) -> Sequence[Sequence[str]]:
    """Return a table of regions: name, cells, volume [mL], error [%], smallest dihedral angle [degrees]."""
    rows = []
    regions = content["regions"]
    if isinstance(regions, Mapping):
        for name, entry in regions.items():
            error = entry["volume_error_percent"]
            rows.append(
                (
                    str(name),
                    f"{entry['cells']:,}",
                    f"{entry['volume_mesh_mm3'] / 1000:.4g} mL",
                    "" if error is None else f"{error:+.2f} %",
                    f"{entry['dihedral_min']:.1f}°",
                )
            )
    return rows
