"""Label images and maps: NIfTI, NRRD, MHA and MHD, as arrays in the RAS frame in millimeters."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from turgor.materials.errors import SegmentationError
from turgor.materials.quantity import factor
from turgor.meshing.tetrahedra import Floats

MOST_VOXELS = 2_000_000_000
MOST_COMPRESSION = 1_100
"""gzip cannot make a file smaller than by about this factor."""

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

_SPACES = {
    "right-anterior-superior": np.eye(4),
    "ras": np.eye(4),
    "left-anterior-superior": np.diag([-1.0, 1.0, 1.0, 1.0]),
    "las": np.diag([-1.0, 1.0, 1.0, 1.0]),
    "left-posterior-superior": LPS_TO_RAS,
    "lps": LPS_TO_RAS,
}


@dataclass(frozen=True)
class Image:
    """Values on a grid of voxels in the world.

    Attributes:
        values: Shape (nx, ny, nz).
        affine: Voxel index to RAS millimeters, shape (4, 4).
        names: Label value -> name, where the header gives some.
    """

    values: NDArray[np.number]
    affine: Floats
    names: Mapping[int, str]


def read_labels(path: Path) -> tuple[NDArray[np.int32], Floats]:
    """Read a label image.

    Returns:
        Label values, shape (nx, ny, nz), and the map from voxel index to RAS millimeters, shape (4, 4).

    Raises:
        SegmentationError: The file is unreadable, too large, not three-dimensional, or its values are no labels.
    """
    image = _read(path)
    values = image.values
    if values.dtype.kind == "f":
        if not np.isfinite(values).all():
            raise SegmentationError(f"{path}: holds values that are not a number; labels must be whole numbers")
        if not (values == np.round(values)).all():
            raise SegmentationError(
                f"{path}: holds values between whole numbers, so it is no label image; threshold it, or take the "
                "largest probability in each voxel, first"
            )
    if values.size and (values.min() < -(2**31) or values.max() >= 2**31):
        raise SegmentationError(f"{path}: holds label values beyond 32 bits; renumber them")
    return values.astype(np.int32), image.affine


def read_map(path: Path) -> tuple[Floats, Floats]:
    """Read a map of a parameter.

    Returns:
        Values, shape (nx, ny, nz), NaN where the file says so, and the map from voxel index to RAS millimeters.

    Raises:
        SegmentationError: The file is unreadable, too large or not three-dimensional.
    """
    image = _read(path)
    return image.values.astype(np.float64), image.affine


def not_finite(values: Floats) -> int:
    """Return the number of voxels that hold no finite number."""
    return int(values.size - np.isfinite(values).sum())


def label_counts(path: Path) -> dict[int, int]:
    """Return the label values of an image and how many voxels carry each."""
    values, _ = read_labels(path)
    labels, counts = np.unique(values, return_counts=True)
    return dict(zip(labels.tolist(), counts.tolist(), strict=True))


def label_names(path: Path) -> dict[int, str]:
    """Return the names that the header gives to label values (3D Slicer's .seg.nrrd); often empty."""
    return dict(_read(path).names)


def _read(path: Path) -> Image:
    """Read by the file's name; every failure becomes one sentence."""
    if not path.is_file():
        raise SegmentationError(f"there is no file {path}")
    name = path.name.lower()
    readers: dict[tuple[str, ...], Callable[[Path], Image]] = {
        (".nii", ".nii.gz", ".hdr", ".img"): _read_nifti,
        (".nrrd", ".nhdr"): _read_nrrd,
        (".mha", ".mhd"): _read_meta,
    }
    for endings, reader in readers.items():
        if name.endswith(endings):
            try:
                image = reader(path)
            except (OSError, EOFError, ValueError, KeyError, IndexError, TypeError, zlib.error, MemoryError) as error:
                why = str(error).splitlines()[0] if str(error) else type(error).__name__
                raise SegmentationError(f"{path}: cannot be read as an image ({why}); is it complete?") from None
            return _checked(path, image)
    raise SegmentationError(f"{path}: is none of .nii, .nii.gz, .nrrd, .nhdr, .mha, .mhd")


def _checked(path: Path, image: Image) -> Image:
    """Return the image with three axes, or say what is wrong with it."""
    values = image.values
    while values.ndim > 3 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.ndim != 3:
        shape = " x ".join(str(n) for n in values.shape)
        raise SegmentationError(f"{path}: is {shape}, expected one three-dimensional image; take one volume out of it")
    if values.size == 0:
        raise SegmentationError(f"{path}: holds no voxels")
    if values.dtype.kind not in "biuf":
        raise SegmentationError(f"{path}: holds colors or complex numbers, expected one number in each voxel")
    if not np.isfinite(image.affine).all() or abs(np.linalg.det(image.affine[:3, :3])) < 1e-12:
        raise SegmentationError(f"{path}: its header gives voxels without size; write it again with its spacing")
    return Image(values, np.asarray(image.affine, dtype=np.float64), image.names)


def _refuse_absurd(path: Path, shape: tuple[int, ...], voxel_bytes: int, stored: int, compressed: bool) -> None:
    """Raise when a header claims more voxels than can be true, before anything is loaded."""
    claimed = 1
    for n in shape:
        claimed *= max(int(n), 0)
    if claimed > MOST_VOXELS:
        raise SegmentationError(
            f"{path}: its header claims {claimed:.3g} voxels ({' x '.join(map(str, shape))}), "
            f"more than {MOST_VOXELS:.0e}; crop or resample it"
        )
    if claimed * voxel_bytes > stored * (MOST_COMPRESSION if compressed else 1) + 4096:
        raise SegmentationError(
            f"{path}: its header claims {claimed:.3g} voxels, but the file holds only {stored} bytes; is it complete?"
        )


def _read_nifti(path: Path) -> Image:
    """Read NIfTI 1 or 2."""
    import nibabel
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError, SpatialImage

    try:
        image = nibabel.load(path)
        if not isinstance(image, SpatialImage):
            raise ValueError("it holds no voxels")
        shape = tuple(int(n) for n in image.shape)
        header, frame = image.header, np.asarray(image.affine, dtype=np.float64)
        data = Path(str(image.file_map["image"].filename))
        _refuse_absurd(path, shape, header.get_data_dtype().itemsize, data.stat().st_size, data.suffix == ".gz")
        values = np.asanyarray(image.dataobj)
        units = getattr(header, "get_xyzt_units", lambda: ("mm", "sec"))()
        _refuse_two_frames(path, header, shape, frame)
    except (ImageFileError, HeaderDataError, AttributeError) as error:
        raise ValueError(str(error)) from None
    scale = {"meter": 1000.0, "micron": 1e-3}.get(str(units[0]), 1.0)
    return Image(values, np.diag([scale, scale, scale, 1.0]) @ frame, {})


def _refuse_two_frames(path: Path, header: object, shape: tuple[int, ...], affine: Floats) -> None:
    """Raise when the header's two frames (qform and sform) put the image in different places."""
    read = getattr(header, "get_qform", None)
    if read is None:
        return
    qform, code = read(coded=True)
    sform_code = int(header["sform_code"])  # type: ignore[index]
    if not code or not sform_code or qform is None:
        return
    corners = np.array([[i, j, k, 1] for i in (0, shape[0]) for j in (0, shape[1]) for k in (0, shape[2])])
    apart = float(np.abs(corners @ (qform - affine).T).max())
    voxel = float(np.linalg.norm(affine[:3, :3], axis=0).min())
    if apart > 0.2 * voxel:
        raise SegmentationError(
            f"{path}: its header has two frames (qform and sform) that lie {apart:.3g} mm apart; delete the wrong one"
        )


def _read_nrrd(path: Path) -> Image:
    """Read NRRD; its space decides where right and left are."""
    import nrrd

    try:
        header = nrrd.read_header(str(path))
        sizes = tuple(int(n) for n in header["sizes"])
        encoding = str(header.get("encoding", "raw")).lower()
        stored = path.stat().st_size
        if "data file" not in header and "datafile" not in header:
            packed = encoding not in ("raw", "txt", "text", "ascii")
            _refuse_absurd(path, sizes, 1 if packed else _nrrd_bytes(header), stored, packed)
        else:
            _refuse_absurd(path, sizes, 0, stored, False)
        values, header = nrrd.read(str(path))
    except nrrd.NRRDError as error:
        raise ValueError(str(error)) from None
    return Image(values, _nrrd_affine(path, header, values.ndim), _segment_names(header))


_NRRD_BYTES = {
    "double": 8,
    "float": 4,
    "int64": 8,
    "uint64": 8,
    "int32": 4,
    "uint32": 4,
    "int": 4,
    "short": 2,
    "int16": 2,
}


def _nrrd_bytes(header: Mapping[str, object]) -> int:
    """Return the bytes of one voxel, at least."""
    word = str(header.get("type", "")).removesuffix("_t").split(" ")[-1]
    return _NRRD_BYTES.get(word, 1)


def _nrrd_affine(path: Path, header: Mapping[str, object], axes: int) -> Floats:
    """Return voxel index to RAS millimeters from the header."""
    if axes != 3:
        raise SegmentationError(
            f"{path}: has {axes} axes, expected a three-dimensional label image; in 3D Slicer collapse the layers of "
            "the segmentation or export it as a labelmap"
        )
    space = str(header.get("space", "")).lower()
    if space not in _SPACES:
        raise SegmentationError(
            f"{path}: its header says space {space or 'nothing'!r}, so right and left are not known; "
            "write it with left-posterior-superior or right-anterior-superior"
        )
    directions = np.asarray(header["space directions"], dtype=np.float64)
    affine = np.eye(4)
    affine[:3, :3] = directions.T
    affine[:3, 3] = np.asarray(header.get("space origin", np.zeros(3)), dtype=np.float64)
    units = header.get("space units")
    scale = factor(str(list(units)[0]), "mm") if isinstance(units, list | tuple) and units else 1.0  # noqa: RUF015
    affine[:3] *= scale
    return np.asarray(_SPACES[space] @ affine)


def _segment_names(header: Mapping[str, object]) -> dict[int, str]:
    """Return the names of 3D Slicer's segments by label value."""
    names = {}
    for key, value in header.items():
        match = re.fullmatch(r"Segment(\d+)_Name", key)
        if match and (label := header.get(f"Segment{match[1]}_LabelValue")) is not None:
            names[int(str(label))] = str(value)
    return names


_META_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}


def _meta_header(path: Path) -> tuple[dict[str, str], int]:
    """Return the header of a MetaImage and the byte at which it ends."""
    header: dict[str, str] = {}
    with path.open("rb") as file:
        for line in iter(lambda: file.readline(4096), b""):
            key, found, value = line.decode("utf-8", "replace").partition("=")
            if not found:
                break
            header[key.strip()] = value.strip()
            if key.strip() == "ElementDataFile":
                return header, file.tell()
    raise ValueError("the header has no ElementDataFile")


def _read_meta(path: Path) -> Image:
    """Read MHA or MHD (MetaImage), whose frame is LPS."""
    header, end = _meta_header(path)
    shape = tuple(int(n) for n in header["DimSize"].split())
    if header.get("ElementNumberOfChannels", "1") != "1":
        raise SegmentationError(f"{path}: holds several numbers in each voxel, expected one")
    big = "true" in (header.get("BinaryDataByteOrderMSB", "") + header.get("ElementByteOrderMSB", "")).lower()
    kind = np.dtype((">" if big else "<") + _META_TYPES[header["ElementType"]])
    compressed = header.get("CompressedData", "False").lower() == "true"
    local = header["ElementDataFile"] == "LOCAL"
    source = path if local else path.parent / header["ElementDataFile"]
    start = end if local else max(int(header.get("HeaderSize", "0")), 0)
    if not source.is_file():
        raise SegmentationError(f"{path}: names the data file {header['ElementDataFile']}, which is not beside it")
    _refuse_absurd(path, shape, kind.itemsize, source.stat().st_size, compressed)
    raw = source.read_bytes()[start:]
    if compressed:
        raw = zlib.decompress(raw, zlib.MAX_WBITS | 32)
    count = int(np.prod(shape))
    values = np.frombuffer(raw, dtype=kind, count=count).reshape(shape, order="F").astype(kind.newbyteorder("="))
    return Image(values, LPS_TO_RAS @ _meta_affine(header, len(shape)), {})


def _meta_affine(header: Mapping[str, str], axes: int) -> Floats:
    """Return voxel index to world of a MetaImage; each row of its matrix is the direction of one axis."""

    def numbers(keys: tuple[str, ...], otherwise: Floats) -> Floats:
        text = next((header[key] for key in keys if key in header), None)
        return otherwise if text is None else np.array([float(word) for word in text.split()])

    spacing = numbers(("ElementSpacing", "ElementSize"), np.ones(axes))
    origin = numbers(("Offset", "Position", "Origin"), np.zeros(axes))
    matrix = numbers(("TransformMatrix", "Rotation", "Orientation"), np.eye(axes).ravel()).reshape(axes, axes)
    affine = np.eye(4)
    affine[:3, :3] = matrix[:3, :3].T * spacing[:3]
    affine[:3, 3] = origin[:3]
    return affine
