"""From the `[mesh.image]` of a case to one label value a voxel: label images, masks, probabilities, structures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from turgor.materials.errors import SegmentationError
from turgor.meshing.dicom import read_structures
from turgor.meshing.images import (
    by_colors,
    has_fractions,
    present,
    read_image,
    shape_of,
    slabs,
    volume,
    whole_numbers,
)
from turgor.meshing.masks import (
    Composed,
    Layer,
    Layers,
    Mask,
    Packed,
    composed,
    covering,
    refuse_beyond,
    refuse_other_frame,
    resampled_mask,
    same_grid,
    same_lattice,
    voxel_volume,
)
from turgor.meshing.naming import Names
from turgor.meshing.spec import ImageSpec
from turgor.meshing.voxels import Color, Floats, Image, Segment


@dataclass(frozen=True)
class Labels:
    """A label image, or what was made to one.

    Attributes:
        values: Label values, shape (nx, ny, nz).
        affine: Voxel index to RAS millimeters, shape (4, 4).
        segments: What the header names.
        notes: What was chosen because the case says so, one sentence each.
        repairs: What was mended or assumed, one sentence each.
    """

    values: NDArray[np.int32]
    affine: Floats
    segments: tuple[Segment, ...] = ()
    notes: tuple[str, ...] = ()
    repairs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Segmentation:
    """One label value a voxel, and which value is which region.

    Attributes:
        values: Label values, shape (nx, ny, nz).
        affine: Voxel index to RAS millimeters, shape (4, 4).
        spec: What the case says, with numbers in the place of names.
        notes: What was chosen because the case says so, one sentence each.
        repairs: What was mended or assumed, one sentence each.
        colors: Region -> red, green, blue, 0 to 255, where the header gives colors.
    """

    values: NDArray[np.int32]
    affine: Floats
    spec: ImageSpec
    notes: tuple[str, ...]
    repairs: tuple[str, ...]
    colors: Mapping[str, Color] = field(default_factory=dict)


def read_segmentation(spec: ImageSpec, strict: bool = False) -> Segmentation:
    """Read what a case names, whatever its format.

    Args:
        spec: The `[mesh.image]` table.
        strict: Whether anything that would have to be mended or assumed is refused.

    Raises:
        SegmentationError: A file is unreadable, a label is not in it, or masks overlap without priority.
    """
    if spec.masks:
        found = _of_layers(spec, mask_layers(spec))
    else:
        source = read_source(_file(spec), spec)
        found = _of_labels(spec, source) if isinstance(source, Labels) else _of_layers(spec, source)
    if strict and found.repairs:
        raise SegmentationError(f"mesh.strict: {found.repairs[0]}; mend the file, or remove strict")
    return found


def _file(spec: ImageSpec) -> Path:
    if spec.file is None:
        raise SegmentationError("mesh.image: there is no label image")
    return spec.file


def read_source(path: Path, spec: ImageSpec | None = None) -> Labels | Layers:
    """Read a file as labels, or as layers that may overlap.

    Args:
        path: The file.
        spec: Threshold, frame and reference of the case; None for a first look.

    Raises:
        SegmentationError: The file is unreadable, or holds no segmentation.
    """
    if path.suffix.lower() in (".dcm", ".dicom"):
        return read_structures(path, spec.reference if spec is not None else None)
    image = by_colors(path, read_image(path, spec.frame if spec is not None else None))
    threshold = spec.threshold if spec is not None else None
    if image.values.ndim == 4:
        return _stack(path, image, threshold)
    values = volume(path, image)
    if threshold is None or not has_fractions(path, values):
        return Labels(whole_numbers(path, values), image.affine, image.segments, image.notes, image.repairs)
    inside = (values > threshold).astype(np.int32)
    note = f"{path.name}: label 1 is where the probability exceeds {threshold:g}, {int(inside.sum())} voxels"
    return Labels(inside, image.affine, image.segments, (*image.notes, note), image.repairs)


def _stack(path: Path, image: Image, threshold: float | None) -> Labels | Layers:
    """Take four axes as segments in layers, masks, or probabilities; anything else is refused."""
    values = image.values
    if image.segments:
        return _segment_layers(path, image)
    if image.channels == "time":
        raise SegmentationError(
            f"{path}: is {shape_of(values)} and its fourth axis is time, expected masks; take one volume out of it"
        )
    if any(has_fractions(path, values[..., channel]) for channel in range(values.shape[3])):
        return _largest(path, image, threshold)
    if all(_is_mask(values[..., channel]) for channel in range(values.shape[3])):
        layers = tuple(Layer(channel + 1, "") for channel in range(values.shape[3]))
        return _layers("channel", layers, image, lambda index: np.asarray(values[..., index] != 0))
    what = {"vector": "vectors", "color": "colors"}.get(image.channels, "neither masks nor probabilities")
    raise SegmentationError(
        f"{path}: is {shape_of(values)} and holds {what} along its fourth axis (up to {values.max():g}), expected "
        "masks; take one volume out of it"
    )


def _is_mask(channel: NDArray[np.number]) -> bool:
    """Whether a channel holds 0 and at most one other value."""
    highest = channel.max()
    return bool(highest >= 0 and all(((slab == 0) | (slab == highest)).all() for _, slab in slabs(channel)))


def _largest(path: Path, image: Image, threshold: float | None) -> Labels:
    """Give each voxel the channel of the largest probability, where that exceeds the threshold."""
    if threshold is None:
        raise SegmentationError(
            f"{path}: is {shape_of(image.values)} and holds values between whole numbers; if these are probabilities, "
            "set threshold = 0.5 under [mesh.image], and each voxel goes to the channel with the largest"
        )
    found = np.zeros(image.values.shape[:3], dtype=np.int32, order="F")
    for part, slab in slabs(image.values):
        best = slab.argmax(axis=3)
        highest = np.take_along_axis(slab, best[..., None], axis=3)[..., 0]
        found[:, :, part] = np.where(highest > threshold, best + 1, 0)
    note = (
        f"{path.name}: each voxel has the number of the channel with the largest value, where it exceeds {threshold:g}"
    )
    return Labels(found, image.affine, (), (*image.notes, note), image.repairs)


def _segment_layers(path: Path, image: Image) -> Layers:
    """Return the segments of a stack of layers; a segment is called by its value where that is one of a kind."""
    count = image.values.shape[3]
    for segment in image.segments:
        if not 0 <= segment.layer < count:
            raise SegmentationError(f"{path}: segment {segment.name!r} lies in layer {segment.layer}, of {count}")
    values = [segment.value for segment in image.segments]
    alone = len(set(values)) == len(values)
    layers = tuple(
        Layer(segment.value if alone else index + 1, segment.name, segment.color)
        for index, segment in enumerate(image.segments)
    )

    def mask(index: int) -> Mask:
        segment = image.segments[index]
        return np.asarray(image.values[..., segment.layer] == segment.value)

    return _layers("segment", layers, image, mask)


def _layers(kind: str, layers: tuple[Layer, ...], image: Image, mask: Callable[[int], Mask]) -> Layers:
    """Return layers of an image."""
    nx, ny, nz = image.values.shape[:3]
    return Layers(kind, layers, (nx, ny, nz), image.affine, lambda index: (mask(index), ()), image.notes, image.repairs)


def mask_layers(spec: ImageSpec) -> Layers:
    """Read one mask a file, and bring all onto the grid of the reference, or the finest of their own.

    Raises:
        SegmentationError: A file is no mask, or lies elsewhere.
    """
    read = [_mask(path, spec) for path in spec.masks.values()]
    masks = [packed for packed, _ in read]
    notes = tuple(note for _, image in read for note in image.notes)
    repairs = tuple(note for _, image in read for note in image.repairs)
    if spec.reference is not None:
        image = read_image(spec.reference, spec.frame)
        nx, ny, nz = volume(spec.reference, image).shape
        shape, affine, title = (nx, ny, nz), image.affine, spec.reference.name
        for one in masks:
            refuse_other_frame(shape, affine, one, title)
    else:
        finest = min(masks, key=lambda one: voxel_volume(one.affine))
        title = finest.name
        for one in masks:
            refuse_other_frame(finest.shape, finest.affine, one, title)
        shape, affine = covering(finest.shape, finest.affine, masks)

    def mask(index: int) -> tuple[Mask, tuple[str, ...]]:
        return _on_grid(masks[index], shape, affine, title)

    layers = tuple(Layer(index + 1, name) for index, name in enumerate(spec.masks))
    return Layers("mask", layers, shape, affine, mask, notes, repairs)


def _on_grid(one: Packed, shape: tuple[int, int, int], affine: Floats, title: str) -> tuple[Mask, tuple[str, ...]]:
    """Return a mask on a grid, and what that did to it.

    Raises:
        SegmentationError: It lies elsewhere, or reaches beyond the grid.
    """
    if same_grid(shape, affine, one):
        return one.mask(), ()
    found, dice = resampled_mask(shape, affine, one)
    if not found.any():
        raise SegmentationError(f"mesh.image.masks: {one.name} does not lie on the grid of {title}; is one misplaced?")
    refuse_beyond(shape, affine, one, title)
    if same_lattice(affine, one):
        return found, ()
    was = int(np.count_nonzero(one.mask())) * voxel_volume(one.affine)
    now = int(np.count_nonzero(found)) * voxel_volume(affine)
    told = f"brought onto the grid of {title}, {was:.4g} mm^3 became {now:.4g} mm^3 ({100 * (now / was - 1):+.1f} %)"
    return found, (f"{one.name}: {told}; overlap with what it was (Dice) {dice:.3f}",)


def _mask(path: Path, spec: ImageSpec) -> tuple[Packed, Image]:
    """Read a mask: 0 and one other value, or a probability above the threshold."""
    image = read_image(path, spec.frame if ".nii" in path.name.lower() else None)
    values = volume(path, image)
    if has_fractions(path, values):
        if spec.threshold is None:
            raise SegmentationError(
                f"{path}: holds values between whole numbers; if these are probabilities, set threshold = 0.5 under "
                "[mesh.image]"
            )
        inside = np.asarray(values > spec.threshold)
    elif not _is_mask(values):
        raise SegmentationError(
            f"{path}: holds several labels ({', '.join(map(str, present(values)[:8]))}), expected a mask of 0 and 1; "  # type: ignore[arg-type]
            "name it as file, with labels"
        )
    else:
        inside = np.asarray(values != 0)
    if not inside.any():
        raise SegmentationError(f"{path}: is empty; the mask of a region needs voxels")
    return Packed.of(path.name, inside, image.affine), image


def _of_labels(spec: ImageSpec, source: Labels) -> Segmentation:
    """Put numbers in the place of names; the voxels stay."""
    there = present(source.values)
    names = Names({segment.value: segment.name for segment in source.segments}, spec.table, there, spec.title)
    labels = {name: names.numbers(values, f"labels.{name}") for name, values in spec.labels.items()}
    ignored = names.numbers(spec.ignore, "ignore")
    _refuse_shared(labels)
    colors = {segment.value: segment.color for segment in source.segments if segment.color is not None}
    return Segmentation(
        source.values,
        source.affine,
        spec.model_copy(update={"labels": labels, "ignore": ignored}),
        source.notes,
        source.repairs,
        {name: colors[numbers[0]] for name, numbers in labels.items() if numbers[0] in colors},
    )


def _of_layers(spec: ImageSpec, layers: Layers) -> Segmentation:
    """Join masks to regions, numbered in the order of the case."""
    said = {name: (name,) for name in spec.masks} or spec.labels
    numbers = [layer.number for layer in layers.layers]
    names = Names({layer.number: layer.name for layer in layers.layers}, spec.table, numbers, spec.title, layers.kind)
    chosen = {name: names.numbers(values, f"labels.{name}") for name, values in said.items()}
    ignored = names.numbers(spec.ignore, "ignore")
    _refuse_shared(chosen)
    for name, values in chosen.items():
        for value in values:
            if value not in numbers:
                raise SegmentationError(
                    f"mesh.image.labels.{name}: {spec.title} has no {layers.kind} {value}; it has {names.listing()}"
                )
    left = [i for i, n in enumerate(numbers) if n not in ignored and not any(n in own for own in chosen.values())]
    notes = (*layers.notes, *_left_out(spec, layers, left))
    regions = {name: [numbers.index(value) for value in values] for name, values in chosen.items()}
    made: Composed = composed(layers, regions, spec.priority)
    colors = {name: layers.layers[own[0]].color for name, own in regions.items()}
    return Segmentation(
        made.values,
        layers.affine,
        spec.model_copy(
            update={
                "file": spec.sources[0],
                "labels": {name: (index + 1,) for index, name in enumerate(regions)},
                "masks": {},
                "ignore": (),
            }
        ),
        (*notes, *made.notes),
        (*layers.repairs, *made.repairs),
        {name: color for name, color in colors.items() if color is not None},
    )


def _left_out(spec: ImageSpec, layers: Layers, left: Sequence[int]) -> tuple[str, ...]:
    """Say which structures no region names; channels and segments must be named or ignored, as labels must."""
    if layers.kind == "structure":
        said = ", ".join(layers.layers[index].name for index in left)
        return (f"{spec.title}: structures that no region names were left out: {said}",) if left else ()
    for index in left:
        voxels = int(np.count_nonzero(layers.mask(index)[0]))
        if voxels:
            raise SegmentationError(
                f"mesh.image: {spec.title} holds {layers.kind} {layers.layers[index]} ({voxels} voxels), which no "
                "region claims; name it under labels or add it to ignore"
            )
    return ()


def _refuse_shared(labels: Mapping[str, Sequence[int]]) -> None:
    """Raise when two regions claim one label under different names."""
    owner: dict[int, str] = {}
    for name, numbers in labels.items():
        for number in numbers:
            if owner.setdefault(number, name) != name:
                raise SegmentationError(
                    f"mesh.image.labels.{name}: label {number} is claimed by region {owner[number]!r}, too"
                )
