"""NIfTI 1 and 2: voxels, and the frame that its header gives."""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

import numpy as np

from turgor.materials.errors import SegmentationError
from turgor.meshing.voxels import Floats, Image, Segment, refuse_absurd

Frame = Literal["qform", "sform"]

FRAMES_APART = 1e-3
"""Difference of the two frames of a header from which they contradict each other, in voxels a voxel."""

_VECTORS = {1005: "tensor", 1006: "vector", 1007: "vector", 1008: "vector", 2001: "time", 2003: "color", 2004: "color"}
"""Codes of what is stored in each voxel, or as series."""


def read_nifti(path: Path, frame: Frame | None = None) -> Image:
    """Read NIfTI 1 or 2.

    Args:
        path: The file.
        frame: Which of the header's two frames holds, where they differ.

    Raises:
        SegmentationError: The two frames contradict each other, or the one asked for is not there.
        ValueError: The file is none.
    """
    import nibabel
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError, SpatialImage

    try:
        image = nibabel.load(path)
        if not isinstance(image, SpatialImage):
            raise ValueError("it holds no voxels")
        shape = tuple(int(n) for n in image.shape)
        header, affine = image.header, np.asarray(image.affine, dtype=np.float64)
        data = Path(str(image.file_map["image"].filename))
        refuse_absurd(path, shape, header.get_data_dtype().itemsize, data.stat().st_size, data.suffix == ".gz")
        values = np.asanyarray(image.dataobj)
        units = getattr(header, "get_xyzt_units", lambda: ("mm", "sec"))()
        affine, notes, repairs = _frame(path, header, affine, frame)
        segments = _names_of_extensions(header)
    except (ImageFileError, HeaderDataError, AttributeError) as error:
        raise ValueError(str(error)) from None
    scale = {"meter": 1000.0, "micron": 1e-3}.get(str(units[0]), 1.0)
    while values.ndim > 4 and 1 in values.shape[3:]:
        values = values.squeeze(axis=3 + values.shape[3:].index(1))
    return Image(
        values, np.diag([scale, scale, scale, 1.0]) @ affine, segments, _channels(header, shape), notes, repairs
    )


def _frame(
    path: Path, header: object, affine: Floats, wanted: Frame | None
) -> tuple[Floats, tuple[str, ...], tuple[str, ...]]:
    """Return the frame that holds, what was chosen, and what was assumed."""
    if not hasattr(header, "get_qform") or not hasattr(header, "get_sform"):
        return affine, (), (_no_frame(path, affine),)
    found = {"qform": header.get_qform(coded=True)[0], "sform": header.get_sform(coded=True)[0]}
    there = {name: np.asarray(one, dtype=np.float64) for name, one in found.items() if one is not None}
    if wanted is not None:
        if wanted not in there:
            raise SegmentationError(f"mesh.image.frame: the header of {path} has no {wanted}; remove frame")
        return there[wanted], (f"{path.name}: placed by its {wanted}, as the case says",) if len(there) > 1 else (), ()
    if not there:
        return affine, (), (_no_frame(path, affine),)
    if len(there) > 1:
        _refuse_two_frames(path, there["qform"], there["sform"])
    return affine, (), ()


def _no_frame(path: Path, affine: Floats) -> str:
    """Say what was taken where a header does not tell right from left."""
    side = "left" if affine[0, 0] < 0 else "right"
    return (
        f"{path.name}: its header has no frame, so right and left are not known; its first axis was taken to run to "
        f"the patient's {side}"
    )


def _refuse_two_frames(path: Path, qform: Floats, sform: Floats) -> None:
    """Raise when the header's two frames put the image in different places."""
    voxel = float(np.linalg.norm(sform[:3, :3], axis=0).min())
    apart = float(np.linalg.norm(qform - sform, axis=0).max())
    if not apart <= FRAMES_APART * voxel:
        raise SegmentationError(
            f"{path}: its header has two frames (qform and sform) that differ by {apart / max(voxel, 1e-300):.3g} "
            'voxels; say which holds by frame = "qform" or "sform" under [mesh.image]'
        )


def _channels(header: object, shape: tuple[int, ...]) -> str:
    """Return what the header says that the fourth axis is."""
    if len(shape) < 4:
        return ""
    code = int(header["intent_code"]) if hasattr(header, "get_intent") else 0  # type: ignore[index]
    if code in _VECTORS:
        return _VECTORS[code]
    if len(shape) > 4 and shape[3] == 1:
        return "vector"
    units = getattr(header, "get_xyzt_units", lambda: ("mm", "unknown"))()
    step = float(getattr(header, "get_zooms", lambda: (1, 1, 1, 1))()[3])
    return "time" if str(units[1]) in ("sec", "msec", "usec") and step not in (0.0, 1.0) else ""


def _names_of_extensions(header: object) -> tuple[Segment, ...]:
    """Return the names of label values in a table of labels behind the header, as TotalSegmentator writes it."""
    found = []
    for extension in getattr(header, "extensions", ()):
        content = extension.get_content()
        text = content.decode("utf-8", "replace") if isinstance(content, bytes) else str(content)
        if "<LabelTable" not in text or "<!" in text.replace("<![CDATA[", ""):
            continue
        try:
            labels = ElementTree.fromstring(text.strip("\x00 \n")).iter("Label")
            found += [Segment(str(one.text), 0, int(one.attrib["Key"])) for one in labels if one.text]
        except (ElementTree.ParseError, KeyError, ValueError):
            continue
    return tuple(segment for segment in found if segment.value != 0)
