"""Images of symmetric tensors, such as diffusion tensors: their six numbers, and the axes that these refer to.

Neither is guessed. NIfTI says the order of the numbers only with the intent code 1005 (SYMMATRIX: xx, xy, yy, xz, yz,
zz) and never the axes; NRRD says the order by a kind "3D-symmetric-matrix" or "3D-masked-symmetric-matrix" (xx, xy,
xz, yy, yz, zz) and the axes by a measurement frame. What the header does not say, the case must.

| frame | the tensors' x, y, z are |
|---|---|
| "RAS" | to the right, to the front, up (scanner axes, as MRtrix writes) |
| "LPS" | to the left, to the back, up |
| "voxel" | the image's own axes |
| "FSL" | the image's own axes, the first reversed where they are right-handed (as dtifit writes) |
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from turgor.materials.errors import SegmentationError
from turgor.meshing.images import read_image, shape_of
from turgor.meshing.voxels import Floats, Image

if TYPE_CHECKING:
    from nibabel.filebasedimages import FileBasedImage

COMPONENTS = ("xx", "xy", "xz", "yy", "yz", "zz")
"""In this order tensors leave this module."""

LOWER = ("xx", "xy", "yy", "xz", "yz", "zz")
"""Order of NIfTI's SYMMATRIX: row by row of the lower triangle."""

SYMMATRIX = 1005
LEAST = 1e-3
"""A tensor whose smallest eigenvalue is less than this part of the largest one is a failed fit."""

OBLIQUE = 1e-3
LAYER = 16
"""Layers of voxels that are looked at at once."""

_KINDS = {"3d-symmetric-matrix": False, "3d-masked-symmetric-matrix": True}
"""Kind of an NRRD axis -> whether a mask comes before the six numbers."""

_WORLDS = {"RAS": np.eye(3), "LPS": np.diag([-1.0, -1.0, 1.0])}
_SPACES = {
    "right-anterior-superior": np.eye(3),
    "ras": np.eye(3),
    "left-anterior-superior": np.diag([-1.0, 1.0, 1.0]),
    "las": np.diag([-1.0, 1.0, 1.0]),
    "left-posterior-superior": np.diag([-1.0, -1.0, 1.0]),
    "lps": np.diag([-1.0, -1.0, 1.0]),
}


@dataclass(frozen=True)
class Layout:
    """How the numbers of a voxel make a tensor.

    Attributes:
        order: Names of the six numbers as they follow each other.
        turn: Rotation from the tensors' axes to RAS, shape (3, 3).
        masked: Whether a mask comes before the six numbers.
    """

    order: tuple[str, ...]
    turn: Floats
    masked: bool = False

    def world(self, values: NDArray[np.number]) -> Floats:
        """Return tensors as xx, xy, xz, yy, yz, zz along RAS axes, shape (nx, ny, nz, 6).

        One that is not positive definite (eigenvalues less than 1e-3 of the largest one are failed fits) or that is
        masked out is no value: all six are NaN.
        """
        found = np.full((*values.shape[:3], 6), np.nan)
        for start in range(0, values.shape[0], LAYER):
            part = np.asarray(values[start : start + LAYER], dtype=np.float64)
            good = np.isfinite(part).all(axis=-1)
            if self.masked:
                good &= part[..., 0] >= 0.5
                part = part[..., 1:]
            good &= (part != 0).any(axis=-1)
            tensors = self._turned(part[good])
            found[start : start + LAYER][good] = np.where(positive(tensors)[:, None], six(tensors), np.nan)
        return found

    def _turned(self, numbers: Floats) -> Floats:
        """Return matrices along RAS axes, shape (n, 3, 3)."""
        tensors = matrices(numbers[:, [self.order.index(name) for name in COMPONENTS]])
        return np.asarray(self.turn @ tensors @ self.turn.T)


def matrices(numbers: Floats) -> Floats:
    """Return symmetric matrices from xx, xy, xz, yy, yz, zz, shape (n, 6) to (n, 3, 3)."""
    return np.asarray(numbers[..., [[0, 1, 2], [1, 3, 4], [2, 4, 5]]])


def six(tensors: Floats) -> Floats:
    """Return xx, xy, xz, yy, yz, zz of symmetric matrices, shape (n, 3, 3) to (n, 6)."""
    rows, columns = np.triu_indices(3)
    return np.asarray(tensors[..., rows, columns])


def positive(tensors: Floats) -> NDArray[np.bool_]:
    """Return which tensors are positive definite and no failed fits."""
    values = np.linalg.eigvalsh(tensors)
    return np.asarray((values[:, 0] > 0) & (values[:, 0] >= LEAST * values[:, 2]))


def is_tensor(path: Path) -> bool:
    """Whether an image holds six numbers in each voxel, by its header alone; False when it cannot be read."""
    name = path.name.lower()
    try:
        if name.endswith((".nii", ".nii.gz")):
            shape = tuple(getattr(_nifti(path), "shape", ()))
            return len(shape) in (4, 5) and shape[-1] == 6 and shape[3:-1] in ((), (1,))
        if name.endswith((".nrrd", ".nhdr")):
            return _kind(_nrrd_header(path)) is not None
    except (OSError, EOFError, ValueError, KeyError, zlib.error, SegmentationError):
        return False
    return False


def read_tensors(
    path: Path, components: Sequence[str] = (), frame: str = ""
) -> tuple[NDArray[np.number], Floats, Layout, tuple[str, ...]]:
    """Read an image of symmetric tensors.

    Args:
        path: NIfTI or NRRD.
        components: Order of the six numbers, where the header does not say it.
        frame: "RAS", "LPS", "voxel" or "FSL", where the header does not say it.

    Returns:
        The file's numbers, shape (nx, ny, nz, 6), or 7 with a mask; voxel index to RAS millimeters; how the numbers
        make tensors; what was taken for granted, one sentence each.

    Raises:
        SegmentationError: No such image, or order or axes are not known or said twice.
    """
    image = read_image(path)
    order, turn, masked = (_of_nrrd if path.name.lower().endswith((".nrrd", ".nhdr")) else _of_nifti)(path)
    count = image.values.shape[-1] if image.values.ndim == 4 else 1
    if count != 6 + masked:
        raise SegmentationError(
            f"{path}: is {shape_of(image.values)}, expected a tensor of {6 + masked} numbers in each voxel; "
            "remove components and frame if it holds one number in each"
        )
    order = _said(path, "components", order, tuple(components), 'components = "xx, xy, xz, yy, yz, zz" (as in FSL)')
    if turn is None:
        if not frame:
            raise SegmentationError(
                f"{path}: its header does not say which axes its tensors refer to; add "
                'frame = "RAS", "LPS", "voxel" or "FSL"'
            )
        turn = _axes(path, image, frame)
    elif frame and not np.allclose(_axes(path, image, frame), turn, atol=OBLIQUE):
        raise SegmentationError(f"{path}: its header says other axes of its tensors than frame = {frame!r}; remove it")
    return image.values, image.affine, Layout(order, turn, masked), image.repairs


def _said(path: Path, key: str, header: tuple[str, ...], case: tuple[str, ...], example: str) -> tuple[str, ...]:
    """Return what the header or the case says, which may not differ."""
    if header and case and header != case:
        raise SegmentationError(f"{path}: its header says {key} {', '.join(header)}, the case {', '.join(case)}")
    if not header and not case:
        raise SegmentationError(f"{path}: its header does not say the order of its six numbers; add {example}")
    return header or case


def _axes(path: Path, image: Image, frame: str) -> Floats:
    """Return the rotation from the axes of a frame to RAS."""
    if frame in _WORLDS:
        return _WORLDS[frame]
    columns = image.affine[:3, :3] / np.linalg.norm(image.affine[:3, :3], axis=0)
    u, stretch, v = np.linalg.svd(columns)
    if abs(stretch - 1).max() > OBLIQUE:
        raise SegmentationError(f"{path}: its axes are not at right angles, so that tensors along them mean nothing")
    turn = np.asarray(u @ v)
    return turn @ np.diag([-1.0, 1.0, 1.0]) if frame == "FSL" and np.linalg.det(turn) > 0 else turn


def _of_nifti(path: Path) -> tuple[tuple[str, ...], Floats | None, bool]:
    """Return order, rotation and mask by a NIfTI header."""
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        return (), None, False
    header = _nifti(path).header
    code = int(header["intent_code"])  # type: ignore[index]
    return LOWER if code == SYMMATRIX else (), None, False


def _nifti(path: Path) -> FileBasedImage:
    import nibabel
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError

    try:
        return nibabel.load(path)
    except (ImageFileError, HeaderDataError) as error:
        raise SegmentationError(f"{path}: {error}") from None


def _nrrd_header(path: Path) -> Mapping[str, object]:
    import nrrd

    try:
        header: Mapping[str, object] = nrrd.read_header(str(path))
    except nrrd.NRRDError as error:
        raise SegmentationError(f"{path}: {error}") from None
    return header


def _kind(header: Mapping[str, object]) -> bool | None:
    """Return whether the tensors of an NRRD have a mask; None when the header names no tensors."""
    kinds = header.get("kinds")
    named = [str(kind).lower() for kind in kinds] if isinstance(kinds, list | tuple) else []
    return next((_KINDS[kind] for kind in named if kind in _KINDS), None)


def _of_nrrd(path: Path) -> tuple[tuple[str, ...], Floats | None, bool]:
    """Return order, rotation and mask by an NRRD header."""
    header = _nrrd_header(path)
    masked = _kind(header)
    if masked is None:
        return (), None, False
    raw = header.get("measurement frame")
    if raw is None or not np.isfinite(np.asarray(raw, dtype=np.float64)).all():
        return COMPONENTS, None, masked
    columns = np.asarray(raw, dtype=np.float64).T
    if not np.allclose(columns.T @ columns, np.eye(3), atol=OBLIQUE):
        raise SegmentationError(f"{path}: its measurement frame is no rotation")
    u, _, v = np.linalg.svd(columns)
    return COMPONENTS, np.asarray(_SPACES[str(header.get("space", "")).lower()] @ u @ v), masked
