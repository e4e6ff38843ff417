"""Make the label image of this demo: a real brain, the ICBM152 template, with a synthetic tumor put into it.

    pip download nilearn==0.14.1 --no-deps && unzip nilearn-*.whl -d nilearn-wheel
    python make_labels.py nilearn-wheel/nilearn/datasets/data [brain-labels.nii.gz]

Gray and white matter come from the tissue maps of the template, the ventricles from what the maps leave empty inside.
The tumor is the union of the balls below with a wavy surface, hollowed by a necrotic core and wrapped in an edema that
follows white matter.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

GRAY, WHITE, VENTRICLES, EDEMA, TUMOR, NECROSIS = 1, 2, 3, 4, 5, 6

LOBES = (
    ((32.0, -32.0, 36.0), 10.0),
    ((39.0, -24.0, 39.0), 8.0),
    ((34.0, -42.0, 42.0), 8.0),
    ((32.0, -34.0, 28.0), 7.0),
)
"""Centers (RAS, mm) and radii [mm] of the balls whose union is the tumor, in the right parietal white matter."""

WAVE, WAVE_LENGTH = 1.2, 9.0
"""Height [mm] and length [mm] of the waves on the tumor's surface."""

RIM = 4.5
"""Thickness of the living rim round the necrotic core [mm]."""

EDEMA_IN_WHITE, EDEMA_IN_GRAY = 10.0, 2.0
"""How far the edema reaches from the tumor [mm]; it spreads along white matter."""

SMOOTHING = 4.0
"""Standard deviation [mm] of the blur under which white is told from gray matter: thin sheets are left out."""

IN_VENTRICLE = (9.0, 5.0, 16.0)
"""A point in the right lateral ventricle (RAS, mm), through the third connected with the left one."""

SPECK = 60
"""Pieces of a tissue smaller than so many voxels join what surrounds them."""

type Field = NDArray[np.float64]
type Mask = NDArray[np.bool_]
type Labels = NDArray[np.uint8]


def tissue_map(folder: Path, tissue: str) -> tuple[Field, Field]:
    """Return a tissue map of the template averaged to 2 mm, values 0 to 1, and its RAS affine."""
    image = nib.nifti1.load(folder / f"mni_icbm152_{tissue}_tal_nlin_sym_09a_converted.nii.gz")
    fine = np.asarray(image.dataobj, dtype=np.float64) / 255.0
    shape = [n // 2 for n in fine.shape]
    fine = fine[: 2 * shape[0], : 2 * shape[1], : 2 * shape[2]]
    blocks = fine.reshape(shape[0], 2, shape[1], 2, shape[2], 2)
    affine = np.array(image.affine, dtype=np.float64) @ np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] += 0.25 * affine[:3, :3].sum(axis=1)
    return blocks.mean(axis=(1, 3, 5)), affine


def large_pieces(mask: Mask, smallest: int) -> Mask:
    """Return the face-connected pieces of at least so many voxels."""
    pieces, count = ndimage.label(mask)
    sizes = ndimage.sum_labels(mask, pieces, np.arange(count + 1))
    found: Mask = (sizes >= smallest)[pieces] & mask
    return found


def largest_piece(mask: Mask) -> Mask:
    """Return the largest face-connected piece."""
    pieces, count = ndimage.label(mask)
    sizes = ndimage.sum_labels(mask, pieces, np.arange(1, count + 1))
    found: Mask = pieces == 1 + int(np.argmax(sizes))
    return found


def piece_at(mask: Mask, point: tuple[float, float, float], affine: Field) -> Mask:
    """Return the face-connected piece that holds a point (RAS, mm)."""
    voxel = tuple(np.rint(np.linalg.solve(affine, [*point, 1.0])[:3]).astype(int))
    pieces, _ = ndimage.label(mask)
    found: Mask = mask & (pieces == pieces[voxel])
    return found


def anatomy(gray: Field, white: Field, affine: Field) -> Labels:
    """Label gray matter, white matter and the lateral ventricles.

    The brain is the tissue with its narrow sulci and its cisterns closed; what is closed counts as gray matter.
    """
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    tissue = gray + white > 0.5
    round_ball = ndimage.distance_transform_edt(np.pad(np.zeros((1, 1, 1)), 2, constant_values=1.0)) <= 2.0
    padded = np.pad(tissue, 4, mode="edge")
    brain = largest_piece(ndimage.binary_fill_holes(ndimage.binary_closing(padded, round_ball))[4:-4, 4:-4, 4:-4])
    ventricles = piece_at(brain & (gray + white < 0.5), IN_VENTRICLE, affine)
    labels = np.zeros(brain.shape, dtype=np.uint8)
    labels[brain] = GRAY
    whiter = ndimage.gaussian_filter(white - gray, SMOOTHING / spacing) > 0.0
    labels[large_pieces(brain & whiter, SPECK)] = WHITE
    islands = (labels == GRAY) & ~large_pieces(labels == GRAY, SPECK)
    labels[islands] = WHITE
    labels[ventricles] = VENTRICLES
    return labels


def depth_in_tumor(shape: tuple[int, ...], affine: Field) -> Field:
    """Return how deep each voxel lies in the lobed tumor [mm], negative outside."""
    x, y, z = np.einsum("ij,jklm->iklm", affine[:3, :3], np.indices(shape)) + affine[:3, 3].reshape(3, 1, 1, 1)
    balls = [r - np.sqrt((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2) for (a, b, c), r in LOBES]
    turn = 2.0 * np.pi / WAVE_LENGTH
    waves = WAVE * np.sin(turn * x) * np.sin(turn * y + 1.0) * np.sin(turn * z + 2.0)
    return np.asarray(np.max(balls, axis=0) + waves)


def add_tumor(labels: Labels, affine: Field) -> Labels:
    """Put tumor, necrotic core and edema into the brain; ventricles and the outside stay as they are."""
    inside = np.isin(labels, (GRAY, WHITE))
    tumor = largest_piece(inside & (depth_in_tumor(labels.shape, affine) > 0.0))
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    reach = ndimage.distance_transform_edt(~tumor, sampling=spacing)
    core = largest_piece(ndimage.distance_transform_edt(tumor, sampling=spacing) > RIM)
    swollen = ((labels == WHITE) & (reach <= EDEMA_IN_WHITE)) | ((labels == GRAY) & (reach <= EDEMA_IN_GRAY))
    made = labels.copy()
    made[largest_piece(tumor | swollen)] = EDEMA
    made[tumor] = TUMOR
    made[core] = NECROSIS
    return cleaned(made)


def cleaned(labels: Labels) -> Labels:
    """Give specks of gray matter, white matter and edema to the tissue that surrounds them most."""
    result = labels.copy()
    for label in (GRAY, WHITE, EDEMA):
        mask = result == label
        specks, count = ndimage.label(mask & ~large_pieces(mask, SPECK))
        for speck in range(1, count + 1):
            around = ndimage.binary_dilation(specks == speck) & (specks != speck)
            result[specks == speck] = np.bincount(result[around & (result > 0)], minlength=1).argmax()
    return result


def cropped(labels: Labels, affine: Field, margin: int = 4) -> tuple[Labels, Field]:
    """Crop to the brain and a margin, which ends where the template ends (it cuts the brain stem)."""
    where = np.argwhere(labels)
    low = np.maximum(where.min(axis=0) - margin, 0)
    high = np.minimum(where.max(axis=0) + 1 + margin, labels.shape)
    moved = affine.copy()
    moved[:3, 3] += affine[:3, :3] @ low
    return labels[low[0] : high[0], low[1] : high[1], low[2] : high[2]], moved


def main(templates: Path, file: Path) -> None:
    """Write the label image."""
    gray, affine = tissue_map(templates, "gm")
    white, _ = tissue_map(templates, "wm")
    labels, affine = cropped(add_tumor(anatomy(gray, white, affine), affine), affine)
    image = nib.nifti1.Nifti1Image(labels, affine)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = b"ICBM152 2009a with a synthetic tumor"
    nib.nifti1.save(image, file)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else Path(__file__).parent / "brain-labels.nii.gz")
