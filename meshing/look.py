"""A first look at a segmentation that no case describes yet, for `turgor init`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from turgor.materials.errors import SegmentationError
from turgor.meshing.dicom import structures_of
from turgor.meshing.images import present
from turgor.meshing.masks import Layers
from turgor.meshing.segmentation import Labels, read_source
from turgor.meshing.tables import fitting, plain
from turgor.meshing.voxels import Color, Floats

MOST_LABELS = 1000
"""An image of more values is one of intensities."""

_AROUND = re.compile("body|external|skin|outline|couch|table|patient", re.IGNORECASE)
"""Names of structures that hold all others, or do not belong to the patient."""


@dataclass(frozen=True)
class Look:
    """What a segmentation holds, one number a voxel.

    Attributes:
        values: 0 where there is nothing, shape (nx, ny, nz).
        affine: Voxel index to RAS millimeters, shape (4, 4).
        names: Number -> name, where there is one.
        said: Number -> how a case calls it: by its number, or by its name.
        colors: Number -> red, green, blue.
        priority: Numbers, the highest first; empty where nothing overlaps.
        left: What was left out, and why.
        notes: What was chosen or assumed in reading.
        tables: Tables whose values fit.
    """

    values: NDArray[np.int32]
    affine: Floats
    names: Mapping[int, str]
    said: Mapping[int, int | str]
    colors: Mapping[int, Color] = field(default_factory=dict)
    priority: tuple[int, ...] = ()
    left: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()


def look_at(path: Path) -> Look:
    """Read a segmentation without a case; where masks overlap, the smaller one keeps the voxel.

    Raises:
        SegmentationError: The file is unreadable or holds no segmentation.
    """
    source = read_source(path)
    return _of_labels(path, source) if isinstance(source, Labels) else _of_layers(path, source)


def _of_labels(path: Path, source: Labels) -> Look:
    """Look at a label image."""
    values = [value for value in present(source.values) if value != 0]
    if len(values) > MOST_LABELS:
        raise SegmentationError(
            f"{path}: holds {len(values)} different values, so it is an image of intensities, expected labels"
        )
    names = {one.value: one.name for one in source.segments}
    colors = {one.value: one.color for one in source.segments if one.color is not None}
    return Look(
        source.values,
        source.affine,
        names,
        _said(names, {value: value for value in values}),
        colors,
        notes=(*source.notes, *source.repairs),
        tables=() if names else fitting(values),
    )


def _of_layers(path: Path, source: Layers) -> Look:
    """Look at masks, structures or segments that may overlap."""
    kinds = {one.number: one.kind for one in structures_of(path)} if source.kind == "structure" else {}
    kept: dict[int, int] = {}
    left: list[str] = []
    last: SegmentationError | None = None
    for index, layer in enumerate(source.layers):
        why = "it is the outline of the body" if kinds.get(layer.number) == "EXTERNAL" else ""
        if kinds and not why and _AROUND.search(layer.name):
            why = "its name says that it is around the others"
        try:
            kept[index] = 0 if why else int(np.count_nonzero(source.mask(index)[0]))
        except SegmentationError as error:
            kept[index], why, last = 0, str(error).removeprefix("mesh.image.reference: "), error
        if not kept[index]:
            left.append(f"{layer.name or layer.number}: {why or 'it is empty'}")
    order = sorted((i for i, voxels in kept.items() if voxels), key=lambda i: (-kept[i], i))
    if last is not None and not order:
        raise last
    values = np.zeros(source.shape, dtype=np.int32, order="F")
    shared, repairs = False, list(source.repairs)
    for index in order:
        mask, mended = source.mask(index)
        shared = shared or bool(values[mask].any())
        values[mask] = index + 1
        repairs += mended
    there = set(present(values))
    left += [f"{source.layers[i].name or i + 1}: smaller ones cover it" for i in order if i + 1 not in there]
    order = [i for i in order if i + 1 in there]
    names = {index + 1: layer.name for index, layer in enumerate(source.layers) if layer.name}
    colors = {index + 1: layer.color for index, layer in enumerate(source.layers) if layer.color is not None}
    numbers = {index + 1: layer.number for index, layer in enumerate(source.layers)}
    priority = tuple(index + 1 for index in reversed(order)) if shared else ()
    notes = (*source.notes, *repairs)
    return Look(values, source.affine, names, _said(names, numbers), colors, priority, tuple(left), notes)


def _said(names: Mapping[int, str], numbers: Mapping[int, int]) -> dict[int, int | str]:
    """Return the name by which a case calls each label, or its number where the name is not its own."""
    known = [plain(name) for name in names.values()]
    return {
        value: names[value] if names.get(value) and known.count(plain(names[value])) == 1 else number
        for value, number in numbers.items()
    }
