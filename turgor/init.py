"""`turgor init`: a first case for a label image, commented, with every guess stated.

The case runs as it is; it is meant to be read and corrected. What is guessed: which label is the tumor, that the rest
is normal tissue, how fine the mesh is, that the fluid leaves through the outer surface, and the drug.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from turgor.materials.errors import CaseError, SegmentationError
from turgor.meshing.spec import TUMOR

if TYPE_CHECKING:
    from turgor.meshing.look import Look

CELLS = 150_000
"""How many tetrahedra the first mesh should have, about."""

TUMOR_SHARE = 0.35
"""How many of them the tumor gets, at most."""

CELLS_PER_CUBE = 18.0
"""Tetrahedra in a cube of the edge length: a regular one fits 6√2 times, and surfaces are kept finer than asked."""

ENCLOSED = 0.6
"""Share of its surface with other labels from which a label counts as enclosed."""

COARSER = (1.0, 1.6, 2.5, 4.0)
"""Factors on the edge length in the tumor that are tried until the cells are few enough."""

SPECK = 10
"""Pieces of fewer voxels join their neighbor."""


@dataclass(frozen=True)
class Label:
    """What an image says about one label.

    Attributes:
        value: The label value.
        name: How the region will be called.
        volume: Its volume [mm^3].
        pieces: Connected pieces.
        specks: Pieces of fewer than `SPECK` voxels.
        enclosed: Share of its surface that lies against other labels.
        neighbors: Label values that it touches.
        said: How the case calls it: by its value, or by its name in the file.
        color: Its color in the file, "#rrggbb"; empty where there is none.
    """

    value: int
    name: str
    volume: float
    pieces: int
    specks: int
    enclosed: float
    neighbors: frozenset[int]
    said: int | str = 0
    color: str = ""


@dataclass(frozen=True)
class Draft:
    """What the case will say.

    Attributes:
        labels: The labels that are meshed, in the order of the case.
        tumor: The one taken as tumor.
        why: Why it is.
        ignored: The labels left out.
        outside: Whether something meshed lies against the background.
        cut: Whether something meshed reaches the border of the image.
        coarser: Factor on the edge length in the tumor, where thin tissue would take too many cells.
        cells: How many cells are expected.
        priority: Names of labels that overlap, the highest first.
        left: What the file holds besides, and why it is left out.
    """

    labels: tuple[Label, ...]
    tumor: Label
    why: str
    ignored: tuple[Label, ...]
    outside: bool
    cut: bool
    coarser: float = 1.0
    cells: int = CELLS
    priority: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


def write_case(segmentation: Path, output: Path | None) -> list[str]:
    """Write a case for a segmentation; return what to tell.

    Args:
        segmentation: A label image, a stack of masks, segments of 3D Slicer, or an RT-STRUCT beside its series.
        output: The case file; by default the image's name with .toml, in the current folder.

    Raises:
        SegmentationError: The image cannot be read or holds no label.
        CaseError: The case file exists or cannot be written.
    """
    from turgor.meshing.look import look_at

    stem = segmentation.name.split(".")[0]
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-") or "case"
    target = output or Path(f"{name}.toml")
    if target.exists():
        raise CaseError(f"{target} exists and is not overwritten; remove it, or choose another name with -o")
    if not target.absolute().parent.is_dir():
        raise CaseError(f"{target.parent}: there is no such folder for the case; make it, or choose another with -o")
    look = look_at(segmentation)
    draft = _as_said(plan(look.values, look.affine, look.names), look)
    draft = _affordable(draft, name, segmentation, target)
    try:
        target.write_text(_text_of(draft, name, segmentation, target), encoding="utf-8")
    except OSError as error:
        raise CaseError(f"{target} cannot be written: {error.strerror}") from None
    return [
        *look.notes,
        *(f"{label.name}: {_called(label)}, {_milliliters(label)}" for label in draft.labels),
        *(f"ignored: {_called(label)}, {_milliliters(label)}" for label in draft.ignored),
        *(f"left out: {sentence}" for sentence in draft.left),
        *(f'its values fit the table {name}; table = "{name}" gives them names' for name in look.tables),
        f"tumor: guessed, {draft.why}",
        f"wrote {target}; read it, correct it, then: turgor run {target}",
    ]


def _as_said(draft: Draft, look: Look) -> Draft:
    """Return the draft with labels called as the file calls them."""

    def said(label: Label) -> Label:
        color = bytes(look.colors.get(label.value, ())).hex()
        return replace(label, said=look.said[label.value], color=f"#{color}" if color else "")

    names = {label.value: label.name for label in draft.labels}
    labels = tuple(said(label) for label in draft.labels)
    return replace(
        draft,
        labels=labels,
        tumor=next(label for label in labels if label.value == draft.tumor.value),
        ignored=tuple(said(label) for label in draft.ignored),
        priority=tuple(names[value] for value in look.priority if value in names),
        left=look.left,
    )


def _called(label: Label) -> str:
    """Return how the file calls a label, in a sentence."""
    return repr(label.said) if isinstance(label.said, str) else f"value {label.said or label.value}"


def _text_of(draft: Draft, name: str, segmentation: Path, target: Path) -> str:
    return "\n".join(_lines(draft, name, segmentation, target)) + "\n"


def _affordable(draft: Draft, name: str, segmentation: Path, target: Path) -> Draft:
    """Return the draft with cells so coarse that folded or thin tissue does not take many times `CELLS` of them.

    The finest cells decide how fine the segmentation is taken, and with it how thin the tissue is that must be meshed.
    """
    from turgor.case import Case
    from turgor.line import estimated_cells

    for coarser in COARSER:
        draft = replace(draft, coarser=coarser)
        words = tomllib.loads(_text_of(draft, name, segmentation, target))
        cells = estimated_cells(Case.of(words, folder=target.resolve().parent))
        draft = replace(draft, cells=int(float(f"{cells:.1e}")))
        if cells <= 2 * CELLS:
            break
    return draft


def plan(values: NDArray[np.integer], affine: NDArray[np.float64], names: Mapping[int, str] | None = None) -> Draft:
    """Choose regions and tumor from a label image.

    Args:
        values: Label values, 0 is background, shape (nx, ny, nz).
        affine: Voxel index to millimeters, shape (4, 4).
        names: Names of label values, where the image has them.

    Raises:
        SegmentationError: There is no label.
    """
    voxel = abs(float(np.linalg.det(affine[:3, :3])))
    found = [int(value) for value in np.unique(values) if value != 0]
    if not found:
        raise SegmentationError("the image holds no label, only background (0); choose a label image")
    called = _region_names(found, names or {})
    labels = [_measure(values, value, voxel, called[value]) for value in found]
    chosen, why = _tumor(labels)
    tumor = chosen if TUMOR.search(chosen.name) else replace(chosen, name="tumor")
    labels[labels.index(chosen)] = tumor
    kept = _connected(tumor, labels)
    rest = [label for label in sorted(kept, key=lambda label: -label.volume) if label is not tumor]
    meshed = np.isin(values, [label.value for label in kept])
    filled = int(np.count_nonzero(meshed))
    border = filled - int(np.count_nonzero(meshed[1:-1, 1:-1, 1:-1]))
    outside = bool(np.any(ndimage.binary_dilation(meshed) & ~meshed))
    ignored = tuple(label for label in labels if label not in kept)
    return Draft((*rest, tumor), tumor, why, ignored, outside, border > 0)


def _measure(values: NDArray[np.integer], value: int, voxel: float, name: str) -> Label:
    """Measure one label in its bounding box, one voxel wider."""
    here = values == value
    box = ndimage.find_objects(here.astype(np.int8))[0]
    wider = tuple(slice(max(part.start - 1, 0), part.stop + 1) for part in box)
    mask, around = here[wider], values[wider]
    touched = [
        around[shifted & ~mask] for axis in range(3) for step in (1, -1) for shifted in (_shifted(mask, axis, step),)
    ]
    others = np.concatenate(touched)
    found, counts = np.unique(others, return_counts=True)
    near = {int(other): int(count) for other, count in zip(found, counts, strict=True)}
    faces = max(sum(near.values()), 1)
    sizes = np.bincount(ndimage.label(mask)[0].ravel())[1:]
    return Label(
        value=value,
        name=name,
        volume=float(np.count_nonzero(mask)) * voxel,
        pieces=len(sizes),
        specks=int(np.count_nonzero(sizes < SPECK)),
        enclosed=1 - near.get(0, 0) / faces,
        neighbors=frozenset(other for other in near if other != 0),
    )


def _shifted(mask: NDArray[np.bool_], axis: int, step: int) -> NDArray[np.bool_]:
    """Return a mask moved by one voxel along an axis, with nothing coming in."""
    moved = np.roll(mask, step, axis)
    edge = [slice(None)] * 3
    edge[axis] = slice(0, 1) if step > 0 else slice(-1, None)
    moved[tuple(edge)] = False
    return moved


def _region_names(values: Iterable[int], said: Mapping[int, str]) -> Mapping[int, str]:
    """Return a name for each label: what the image calls it, made fit for a region, or "label_<value>"."""
    found: dict[int, str] = {}
    for value in values:
        name = re.sub(r"[^a-z0-9_+-]+", "_", said.get(value, "").lower()).strip("_")
        known = re.match(r"[a-z]", name) and name not in ("outside", "cut", "all")
        found[value] = _free(name if known else f"label_{value}", found.values())
    return found


def _free(name: str, taken: Iterable[str]) -> str:
    """Return the name, with a number behind it if others have it already."""
    others = set(taken)
    number = 2
    free = name
    while free in others:
        free, number = f"{name}_{number}", number + 1
    return free


def _tumor(labels: list[Label]) -> tuple[Label, str]:
    """Choose the tumor: called so, or the smallest label enclosed by others, or the smallest."""
    called = [label for label in labels if TUMOR.search(label.name)]
    if called:
        return called[0], f"because the image calls it {called[0].name!r}"
    if len(labels) == 1:
        return labels[0], "because there is no other label"
    whole = [label for label in labels if label.volume >= 1e-5 * max(other.volume for other in labels)]
    enclosed = [label for label in whole if label.enclosed >= ENCLOSED]
    if enclosed:
        smallest = min(enclosed, key=lambda label: label.volume)
        share = f"{100 * smallest.enclosed:.0f} % of its surface lies against other labels"
        return smallest, f"value {smallest.value}, the smallest label that others enclose ({share})"
    smallest = min(whole, key=lambda label: label.volume)
    return smallest, f"value {smallest.value}, the smallest label; none is enclosed by another"


def _connected(tumor: Label, labels: Iterable[Label]) -> list[Label]:
    """Return the labels that are joined to the tumor, through each other."""
    known = {label.value: label for label in labels}
    found = {tumor.value}
    front = [tumor]
    while front:
        new = front.pop().neighbors - found
        found |= new
        front += [known[value] for value in new]
    return [label for label in known.values() if label.value in found]


def edge_lengths(draft: Draft) -> Mapping[str, float]:
    """Return the edge length of each region [mm] that gives about `CELLS` tetrahedra: finer in the tumor."""
    rest = sum(label.volume for label in draft.labels if label is not draft.tumor)
    fine = (CELLS_PER_CUBE * draft.tumor.volume / (CELLS * (TUMOR_SHARE if rest else 1.0))) ** (1 / 3)
    if not rest:
        return {draft.tumor.name: fine}
    coarse = (CELLS_PER_CUBE * rest / (CELLS * (1 - TUMOR_SHARE))) ** (1 / 3)
    fine = min(fine * draft.coarser, coarse)
    return {label.name: fine if label is draft.tumor else coarse for label in draft.labels}


def _milliliters(label: Label) -> str:
    volume = label.volume / 1000
    pieces = f", {label.pieces} pieces" if label.pieces > 1 else ""
    return (f"{volume:.0f}" if volume >= 100 else f"{volume:.3g}") + f" mL{pieces}"


def _lines(draft: Draft, name: str, segmentation: Path, target: Path) -> Iterator[str]:
    """Yield the case file, section by section."""
    yield f"# A first case for {segmentation.name}, by `turgor init`. Lines marked GUESS are guesses: read them."
    yield f'name = "{name}"'
    yield ""
    yield "[patient]"
    yield 'species = "human"'
    yield 'body_surface = "1.8 m^2"                # GUESS: an adult; the dose below is per body surface'
    yield from _mesh_lines(draft, segmentation, target)
    yield from _material_lines(draft)
    yield from _physics_lines(draft)
    yield from _output_lines(draft)


def _mesh_lines(draft: Draft, segmentation: Path, target: Path) -> Iterator[str]:
    """Yield the mesh: names, labels, sizes."""
    sizes = ", ".join(f'{_key(name)} = "{length:.2g} mm"' for name, length in edge_lengths(draft).items())
    file = os.path.relpath(segmentation.resolve(), target.resolve().parent)
    yield ""
    yield "[mesh]"
    yield f"file = {_text(target.with_suffix('.msh').name)}"
    yield f'# edge lengths for some {draft.cells} cells; size = "auto" resolves the rim of the tumor'
    yield f"size = {{ {sizes} }}"
    yield ""
    yield "[mesh.image]"
    yield f"file = {_text(Path(file).as_posix())}"
    if segmentation.suffix.lower() in (".dcm", ".dicom"):
        folder = os.path.relpath(segmentation.resolve().parent, target.resolve().parent)
        yield f"reference = {_text(Path(folder).as_posix())}   # the folder of the series that it was drawn on"
    yield "# region = label value(s) or name(s); rename the regions to what they are, here and below"
    for label in draft.labels:
        enclosed = f"{100 * label.enclosed:.0f} % of its surface against other labels"
        guess = f"; GUESS: the tumor, {draft.why}" if label is draft.tumor else ""
        color = f", color {label.color}" if label.color else ""
        yield f"labels.{_key(label.name)} = {_value(label)}   # {_milliliters(label)}, {enclosed}{color}{guess}"
    if draft.ignored:
        yield f"ignore = [{', '.join(map(_value, draft.ignored))}]   # GUESS: not joined to the tumor"
    if len(draft.priority) > 1:
        order = ", ".join(map(_text, draft.priority))
        yield f"priority = [{order}]   # GUESS: where they overlap, the smaller one wins"
    yield from (f"# left out: {sentence}" for sentence in draft.left)
    if any(label.specks for label in draft.labels):
        yield f"merge_below = {SPECK}   # pieces of fewer voxels join their neighbor: there are some"


def _value(label: Label) -> str:
    """Return the value or the name of a label in TOML."""
    return _text(label.said) if isinstance(label.said, str) else str(label.said or label.value)


def _key(name: str) -> str:
    """Return a region's name as a key of TOML."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _text(name)


def _material_lines(draft: Draft) -> Iterator[str]:
    """Yield the materials."""
    from turgor.materials.library import library

    yield ""
    yield "[materials]"
    yield f"# `turgor library` shows the tissues: {', '.join(library().tissues)}"
    for label in draft.labels:
        like = "tumor" if label is draft.tumor else "normal tissue"
        yield f'{_key(label.name)} = {{ like = "{like}" }}   # GUESS'


def _physics_lines(draft: Draft) -> Iterator[str]:
    """Yield flow and drug."""
    surfaces = [f'"*|{kind}"' for kind, there in (("outside", draft.outside), ("cut", draft.cut)) if there]
    yield ""
    yield "[physics.flow]"
    yield "# GUESS: the surroundings are at rest, and take up the fluid that the tissue gives"
    yield f'conditions = [ {{ on = [{", ".join(surfaces)}], pressure = "0 mmHg" }} ]'
    yield ""
    yield "[physics.drug]"
    yield 'agent  = "doxorubicin"                               # GUESS; others: turgor library'
    yield 'plasma = { dose = "50 mg/m^2", kind = "bolus" }      # GUESS'


def _output_lines(draft: Draft) -> Iterator[str]:
    """Yield time and output."""
    yield ""
    yield "[time]"
    yield 'end       = "24 h"'
    yield "tolerance = 1e-3"
    yield ""
    yield "[output]"
    yield 'every = "1 h"'
    yield ""
    yield "[output.measures]"
    tumor = _text(draft.tumor.name)
    yield f'pressure = {{ of = "pressure", in = {tumor}, as = "mean" }}'
    yield f'highest = {{ of = "pressure", in = {tumor}, as = "max" }}'
    yield f'seen = {{ of = "concentration", in = {tumor}, as = "mean", over = "AUC" }}'
    for label in draft.labels:
        yield f'{_key("in_" + label.name)} = {{ of = "concentration", in = {_text(label.name)}, as = "mean" }}'


def _text(words: str) -> str:
    """Return a TOML string."""
    return json.dumps(words, ensure_ascii=False)
