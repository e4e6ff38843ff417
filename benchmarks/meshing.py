"""How many strange images become meshes that keep everything, and how the meshes compare with those of CGAL Mesh_3.

    python benchmarks/meshing.py fuzz [--images 1000] [--first 0] [--frames]
    python benchmarks/meshing.py cgal IMAGE [--size "2 mm"] [--box 80]

`fuzz` meshes made-up label images (see tests/support/fuzz.py) and compares pieces, contacts and volumes with the image
by a program that shares no code with turgor. `cgal` meshes the middle of a label image by both, one after the other, on
one thread each; it needs Debian's python3-pygalmesh. Only the ratios count.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support.fuzz import frame, fuzzed
from support.graph import compare

from turgor.materials.errors import TurgorError
from turgor.meshing import MeshSpec, mesh, read_h5
from turgor.meshing.images import read_labels
from turgor.meshing.tetrahedra import dihedral_angles, volumes

LARGE = 1000
"""Voxels from which the volume of a piece is held to half a percent."""

RADIUS = 0.75
"""Circumradius asked of CGAL in units of our edge length: the numbers of cells are then about the same."""


def spec_of(folder: Path, values: NDArray[np.integer], affine: NDArray[np.float64], size: str) -> MeshSpec:
    """Write a label image and return the `[mesh]` table for it, a region for each label."""
    nibabel.save(nibabel.Nifti1Image(values.astype(np.int16), affine), folder / "labels.nii")
    names = [f"label{value}" for value in np.unique(values).tolist() if value]
    table = {
        "file": "made.msh",
        "size": dict.fromkeys(names, size),
        "image": {"file": "labels.nii", "labels": {name: int(name[5:]) for name in names}},
    }
    return MeshSpec.model_validate(table, context={"base": folder})


def one_fuzzed(seed: int, frames: bool) -> tuple[str, str, float]:
    """Mesh one made-up image; return its kind, what went wrong, and the smallest dihedral angle [degrees]."""
    kind, values = fuzzed(seed)
    affine = frame(seed) if frames else np.eye(4)
    with tempfile.TemporaryDirectory() as name:
        spec = spec_of(Path(name), values, affine, "1 mm")
        try:
            made = mesh(spec)
        except TurgorError as error:
            return kind, f"refused: {error}", np.nan
        certificate = json.loads(made.with_suffix(".certificate.json").read_text())
        labels = {region: [int(region[5:])] for region in (spec.regions() or ())}
        found = compare(values, affine, labels, made)
    worst = max((abs(e) for piece, e in found.errors.items() if found.voxels[piece] > LARGE), default=0.0)
    wrong = "; ".join(found.differences[:3]) + (f"; a volume is off by {worst:.2f} %" if worst > 0.5 else "")
    return kind, wrong, float(certificate["dihedral_min"])


def fuzz(first: int, images: int, frames: bool) -> int:
    """Mesh many images; print a line for each that went wrong, and a table by kind."""
    count, kept, angles = Counter[str](), Counter[str](), dict[str, list[float]]()
    for seed in range(first, first + images):
        kind, wrong, angle = one_fuzzed(seed, frames)
        count[kind] += 1
        kept[kind] += not wrong
        angles.setdefault(kind, []).append(angle)
        if wrong:
            print(f"seed {seed}, {kind}: {wrong}", flush=True)
    print("kind       kept            smallest angle  images under 10 degrees")
    for kind, total in count.items():
        found = np.array(angles[kind])
        least = np.nanmin(found) if np.isfinite(found).any() else np.nan
        print(f"{kind:10} {kept[kind]:5} of {total:5} {least:15.1f} {int((found < 10).sum()):8}")
    print(f"{sum(kept.values())} of {images} images are in their mesh: every label, piece and contact")
    return int(sum(kept.values()) < images)


def measured(points: NDArray[np.float64], cells: NDArray[np.int64], region: NDArray[np.int64]) -> Mapping[str, object]:
    """Return cells, the share of flat ones and volumes by label."""
    smallest = dihedral_angles(points, cells).min(axis=1)
    return {
        "cells": len(cells),
        "below": int((smallest < 10).sum()),
        "least": float(smallest.min()),
        "volume": np.bincount(region, np.abs(volumes(points, cells))),
    }


def cgal(image: Path, size: float, box: int) -> int:
    """Mesh the middle of an image by both; print both, and the ratios."""
    values, affine = read_labels(image)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    at = np.argwhere(values == values.max()).mean(axis=0).astype(int)
    cut = tuple(slice(max(0, c - box // 2), c + box // 2) for c in at)
    block = np.ascontiguousarray(values[cut])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        spec = spec_of(folder, block, np.diag([*spacing, 1.0]), f"{size} mm")
        mesh(spec_of(folder, block[:12, :12, :12], np.eye(4), "1 mm"))
        begin = time.perf_counter()
        made = read_h5(mesh(spec_of(folder, block, np.diag([*spacing, 1.0]), f"{size} mm")))
        ours_seconds = time.perf_counter() - begin
        values8 = np.pad(block, 2).astype(np.uint8)
        np.savez(folder / "in.npz", values=values8, spacing=spacing, distance=0.3 * spacing.min(), radius=RADIUS * size)
        worker = Path(__file__).with_name("cgal_worker.py")
        command = ["/usr/bin/python3", str(worker), str(folder / "in.npz"), str(folder / "out.npz")]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with np.load(folder / "out.npz") as out:
            peer = measured(out["points"], out["cells"].astype(np.int64), out["label"].astype(np.int64))
            peer_seconds = float(out["seconds"])
    regions = np.array([int(region[5:]) for region in spec.regions() or ()])
    ours = measured(made.points, made.cells, regions[made.region])
    wanted = np.bincount(block.ravel()) * float(np.prod(spacing))
    for who, found, seconds in (("turgor", ours, ours_seconds), ("CGAL Mesh_3", peer, peer_seconds)):
        held = np.resize(np.append(found["volume"], np.zeros(len(wanted))), len(wanted))
        errors = [f"{100 * (held[i] / wanted[i] - 1):+.2f}" for i in regions]
        lost = [int(i) for i in regions if held[i] == 0]
        print(
            f"{who:12} {found['cells']:9,} cells  {seconds:7.1f} s  {found['below']:6} below 10 degrees  "
            f"least {found['least']:.1f}  lost labels {lost}  volume errors [%] {' '.join(errors)}"
        )
    print(f"CGAL / turgor: time {peer_seconds / ours_seconds:.2f}, flat cells {peer['below']} / {ours['below']}")
    return 0


def main() -> int:
    """Read the words of the command line."""
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = reader.add_subparsers(dest="what", required=True)
    strange = commands.add_parser("fuzz")
    strange.add_argument("--images", type=int, default=1000)
    strange.add_argument("--first", type=int, default=0)
    strange.add_argument("--frames", action="store_true")
    peer = commands.add_parser("cgal")
    peer.add_argument("image", type=Path)
    peer.add_argument("--size", type=float, default=2.0)
    peer.add_argument("--box", type=int, default=80)
    said = reader.parse_args()
    if said.what == "fuzz":
        return fuzz(said.first, said.images, said.frames)
    return cgal(said.image, said.size, said.box)


if __name__ == "__main__":
    sys.exit(main())
