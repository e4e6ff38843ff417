"""From a segmentation to tetrahedra with names: images or surfaces in, a mesh file and a certificate out."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from turgor.meshing.certificate import summary
    from turgor.meshing.exchange import convert
    from turgor.meshing.formats import read_h5
    from turgor.meshing.images import label_counts, label_names, not_finite, read_labels, read_map
    from turgor.meshing.make import estimate, mesh
    from turgor.meshing.spec import ImageSpec, MeshSpec, SurfaceSpec
    from turgor.meshing.tetrahedra import Tetrahedra

_HOME = {
    "summary": "certificate",
    "convert": "exchange",
    "read_h5": "formats",
    "label_counts": "images",
    "label_names": "images",
    "not_finite": "images",
    "read_labels": "images",
    "read_map": "images",
    "estimate": "make",
    "mesh": "make",
    "ImageSpec": "spec",
    "MeshSpec": "spec",
    "SurfaceSpec": "spec",
    "Tetrahedra": "tetrahedra",
}

__all__ = [
    "ImageSpec",
    "MeshSpec",
    "SurfaceSpec",
    "Tetrahedra",
    "convert",
    "estimate",
    "label_counts",
    "label_names",
    "mesh",
    "not_finite",
    "read_h5",
    "read_labels",
    "read_map",
    "summary",
]


def __getattr__(name: str) -> object:
    """Import a public name when it is first used."""
    if name not in _HOME:
        raise AttributeError(f"module 'turgor.meshing' has no attribute {name!r}")
    return getattr(import_module(f"turgor.meshing.{_HOME[name]}"), name)
