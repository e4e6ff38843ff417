"""DICOM RT-STRUCT: contours become voxels of the series that they were drawn on, wherever it lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from turgor.case import Case
from turgor.init import write_case
from turgor.materials.errors import SegmentationError
from turgor.meshing import ImageSpec
from turgor.meshing.contours import Plane, filled, voxelized
from turgor.meshing.segmentation import Segmentation, read_segmentation

type Points = NDArray[np.float64]

FRAME, SERIES = "1.2.826.0.1.3680043.8.498.1", "1.2.826.0.1.3680043.8.498.2"
COLUMNS, ROWS, SLICES = 40, 36, 24
ACROSS, ALONG, BETWEEN = 1.25, 0.75, 2.0
"""Distance of columns, rows and slices [mm]."""

TURN, _ = np.linalg.qr(np.array([[1.0, 0.2, 0.1], [-0.1, 1.0, 0.3], [0.1, -0.2, 1.0]]))
TURN *= np.sign(np.linalg.det(TURN))
ORIGIN = np.array([-30.0, 12.0, -55.0])

LPS_FROM_INDEX = np.eye(4)
"""Column, row and slice to patient coordinates of DICOM."""
LPS_FROM_INDEX[:3, :3] = TURN * [ACROSS, ALONG, BETWEEN]
LPS_FROM_INDEX[:3, 3] = ORIGIN


def saved(dataset: Dataset, path: Path, kind: str) -> None:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = kind
    dataset.file_meta.MediaStorageSOPInstanceUID = f"{SERIES}.{sum(path.name.encode())}"
    dataset.SOPClassUID = kind
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)


def write_slice(path: Path, k: float, frame: str = FRAME, series: str = SERIES) -> None:
    one = Dataset()
    one.Modality = "CT"
    one.FrameOfReferenceUID, one.SeriesInstanceUID = frame, series
    one.ImagePositionPatient = [f"{x:.9f}" for x in ORIGIN + TURN[:, 2] * BETWEEN * k]
    one.ImageOrientationPatient = [f"{x:.12f}" for x in (*TURN[:, 0], *TURN[:, 1])]
    one.PixelSpacing, one.SliceThickness = [ALONG, ACROSS], BETWEEN
    one.Rows, one.Columns = ROWS, COLUMNS
    saved(one, path, "1.2.840.10008.5.1.4.1.1.2")


def write_series(folder: Path) -> Path:
    """Write the slices in an order that is not theirs."""
    folder.mkdir()
    for k in range(SLICES):
        write_slice(folder / f"{(7 * k) % SLICES:03d}.dcm", k)
    return folder


def write_structures(
    path: Path, structures: Mapping[str, Sequence[Points]], kinds: Mapping[str, str] | None = None, **changes: str
) -> Path:
    """Write contours, given in columns, rows and slices."""
    whole = Dataset()
    whole.Modality = changes.get("modality", "RTSTRUCT")
    whole.StructureSetROISequence, whole.ROIContourSequence, whole.RTROIObservationsSequence = [], [], []
    for number, (name, contours) in enumerate(structures.items(), 1):
        roi, drawn, seen = Dataset(), Dataset(), Dataset()
        roi.ROINumber, roi.ROIName, roi.ReferencedFrameOfReferenceUID = number, name, FRAME
        drawn.ReferencedROINumber, drawn.ROIDisplayColor, drawn.ContourSequence = number, [255, 10 * number, 0], []
        seen.ReferencedROINumber, seen.RTROIInterpretedType = number, (kinds or {}).get(name, "ORGAN")
        for points in contours:
            one = Dataset()
            one.ContourGeometricType = changes.get("shape", "CLOSED_PLANAR")
            one.NumberOfContourPoints = len(points)
            one.ContourData = [f"{x:.6f}" for x in (points @ LPS_FROM_INDEX[:3, :3].T + ORIGIN).ravel()]
            drawn.ContourSequence.append(one)
        whole.StructureSetROISequence.append(roi)
        whole.ROIContourSequence.append(drawn)
        whole.RTROIObservationsSequence.append(seen)
    saved(whole, path, "1.2.840.10008.5.1.4.1.1.481.3")
    return path


def box(low: Sequence[float], high: Sequence[float], slices: Sequence[float]) -> list[Points]:
    """Return the contours of a box in columns and rows."""
    (a, b), (c, d) = low, high
    return [np.array([[a, b, k], [c, b, k], [c, d, k], [a, d, k]], dtype=float) for k in slices]


def circle(center: Sequence[float], radius: float, k: float) -> Points:
    """Return a circle of a radius in millimeters around a column and a row."""
    angle = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    x, y = center[0] + radius / ACROSS * np.cos(angle), center[1] + radius / ALONG * np.sin(angle)
    return np.column_stack([x, y, np.full(200, k)])


def ball(center: Sequence[float], radius: float) -> list[Points]:
    """Return the contours of a ball of a radius in millimeters around a column, a row and a slice."""
    drawn = []
    for k in range(SLICES):
        height = abs(k - center[2]) * BETWEEN
        if height < radius:
            drawn.append(circle(center, np.sqrt(radius**2 - height**2), k))
    return drawn


def read(path: Path, labels: Mapping[str, object], reference: Path, priority: Sequence[str] = ()) -> Segmentation:
    said = {"file": path, "labels": labels, "reference": reference, "priority": priority}
    return read_segmentation(ImageSpec.model_validate(said))


@pytest.fixture
def series(tmp_path: Path) -> Path:
    return write_series(tmp_path / "ct")


def test_contours_lie_where_they_were_drawn(tmp_path: Path, series: Path) -> None:
    drawn = write_structures(tmp_path / "rt.dcm", {"Block": box((4.5, 6.5), (9.5, 20.5), range(3, 11))})
    found = read(drawn, {"block": "block"}, series)
    assert found.values.shape == (COLUMNS, ROWS, SLICES)
    # text of nine decimals in the headers
    assert found.affine == pytest.approx(np.diag([-1.0, -1.0, 1.0, 1.0]) @ LPS_FROM_INDEX, abs=1e-6)
    expected = np.zeros(found.values.shape, dtype=bool)
    expected[5:10, 7:21, 3:11] = True
    assert ((found.values == 1) == expected).all()


def test_the_volume_of_a_ball_is_that_of_its_slices(tmp_path: Path, series: Path) -> None:
    drawn = write_structures(tmp_path / "rt.dcm", {"Ball": ball((20, 18, 12), 10.0)})
    found = read(drawn, {"ball": "Ball"}, series)
    volume = np.count_nonzero(found.values) * ACROSS * ALONG * BETWEEN
    # sum over slices of pi (r^2 - h^2) h_slice; pixels err by a fraction of a per cent of some 4,000
    heights = np.arange(-4, 5) * BETWEEN
    assert volume == pytest.approx(float(np.sum(np.pi * (100 - heights**2)) * BETWEEN), rel=0.01)
    assert volume == pytest.approx(4 / 3 * np.pi * 1000, rel=0.02)


def test_a_contour_in_a_contour_is_a_hole_and_so_is_a_keyhole(tmp_path: Path, series: Path) -> None:
    outer, inner = box((4.5, 4.5), (20.5, 20.5), [5])[0], box((8.5, 8.5), (12.5, 12.5), [5])[0]
    keyhole = np.vstack([outer, outer[:1], inner[::-1], inner[3:]])
    drawn = write_structures(tmp_path / "rt.dcm", {"two": [outer, inner], "one": [keyhole]})
    for name in ("one", "two"):
        assert np.count_nonzero(read(drawn, {"a": name}, series).values) == 16 * 16 - 4 * 4


def test_structures_that_overlap_need_a_priority(tmp_path: Path, series: Path) -> None:
    inner, outer = ball((20, 18, 12), 5.0), ball((20, 18, 12), 10.0)
    drawn = write_structures(tmp_path / "rt.dcm", {"Breast": outer, "Tumor Bed": inner, "Scar": inner[:1]})
    labels = {"breast": "breast", "bed": "tumor bed"}
    with pytest.raises(SegmentationError, match=r'priority = \["bed", "breast"\]'):
        read(drawn, labels, series)
    found = read(drawn, labels, series, ["bed"])
    bed = int(np.count_nonzero(found.values == 2))
    assert f"breast: {bed} of its" in found.notes[1]
    assert found.notes[0] == "rt.dcm: structures that no region names were left out: Scar"
    assert found.colors == {"breast": (255, 10, 0), "bed": (255, 20, 0)}


def test_one_slice_is_enough_for_the_grid_in_its_plane(tmp_path: Path, series: Path) -> None:
    drawn = write_structures(tmp_path / "rt.dcm", {"Ball": ball((20, 18, 12), 10.0)})
    whole = read(drawn, {"ball": "Ball"}, series)
    alone = read(drawn, {"ball": "Ball"}, series / "000.dcm")
    assert np.count_nonzero(alone.values) == np.count_nonzero(whole.values)
    centers = [one.affine[:3] @ np.append(np.argwhere(one.values).mean(axis=0), 1.0) for one in (whole, alone)]
    # heights are written with six decimals
    assert centers[0] == pytest.approx(centers[1], abs=1e-5)
    assert alone.values.shape == (COLUMNS, ROWS, 9 + 2)


def test_slices_that_were_not_drawn_are_filled_and_said(tmp_path: Path, series: Path) -> None:
    drawn = write_structures(tmp_path / "rt.dcm", {"Block": box((4.5, 4.5), (20.5, 20.5), range(2, 13, 2))})
    found = read(drawn, {"a": "Block"}, series)
    assert np.count_nonzero(found.values) == 16 * 16 * 11
    assert found.repairs == ("Block: 5 slices without contours were filled by the shape between their neighbors",)
    said = {"file": drawn, "labels": {"a": "Block"}, "reference": series}
    with pytest.raises(SegmentationError, match=r"mesh\.strict: Block: 5 slices"):
        read_segmentation(ImageSpec.model_validate(said), strict=True)


def test_a_wide_gap_parts_two_pieces(tmp_path: Path, series: Path) -> None:
    slices = [2, 3, 4, 9, 10, 11]
    drawn = write_structures(tmp_path / "rt.dcm", {"Kidneys": box((4.5, 4.5), (20.5, 20.5), slices)})
    found = read(drawn, {"a": "Kidneys"}, series)
    assert np.flatnonzero(found.values.any(axis=(0, 1))).tolist() == slices
    assert "4 slices without contours part its pieces" in found.repairs[0]


def test_missing_slices_of_the_series_leave_its_grid(tmp_path: Path, series: Path) -> None:
    drawn = write_structures(tmp_path / "rt.dcm", {"Block": box((4.5, 4.5), (20.5, 20.5), range(3, 11))})
    (series / "007.dcm").unlink()
    found = read(drawn, {"a": "Block"}, series)
    assert found.values.shape == (COLUMNS, ROWS, SLICES)
    assert "1 slices of the series are missing" in found.notes[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda ct: write_slice(ct / "x.dcm", 3.4), "not evenly spaced"),
        (lambda ct: write_slice(ct / "x.dcm", 3.0, series=f"{SERIES}.9"), "2 series"),
        (lambda ct: [path.unlink() for path in ct.iterdir()], "holds no slice"),
        (lambda ct: [write_slice(path, k, frame="1.2.3") for k, path in enumerate(ct.iterdir())], "another frame"),
    ],
)
def test_a_wrong_reference_is_refused(tmp_path: Path, series: Path, change, words: str) -> None:  # type: ignore[no-untyped-def]
    drawn = write_structures(tmp_path / "rt.dcm", {"Block": box((4.5, 4.5), (20.5, 20.5), range(3, 11))})
    change(series)
    with pytest.raises(SegmentationError, match=words):
        read(drawn, {"a": "Block"}, series)


@pytest.mark.parametrize(
    ("contours", "changes", "words"),
    [
        (box((4.5, 4.5), (20.5, 20.5), [3.5, 4.5, 5.5]), {}, "between the slices of the reference"),
        ([circle((20, 18), 8.0, 3) @ np.diag([1.0, 1.0, 0.0]) + [0, 0, 3.0]], {"shape": "POINT"}, "no closed contours"),
        ([np.array([[4.0, 4, 3], [20, 4, 5], [20, 20, 7]])], {}, "do not lie in the planes"),
        (box((4.5, 4.5), (20.5, 20.5), [3]), {"modality": "CT"}, "modality CT, expected RTSTRUCT"),
        (box((400, 400), (420, 420), [3]), {}, "is empty"),
        (box((4.5, 4.5), (20.5, 20.5), range(SLICES - 2, SLICES + 4)), {}, "4 of 6 planes of structure 'Block' lie"),
    ],
)
def test_wrong_contours_are_refused(
    tmp_path: Path, series: Path, contours: list[Points], changes: dict[str, str], words: str
) -> None:
    drawn = write_structures(tmp_path / "rt.dcm", {"Block": contours}, **changes)
    with pytest.raises(SegmentationError, match=words):
        read(drawn, {"a": "Block"}, series)


@pytest.mark.parametrize("content", [b"", b"no DICOM", b"\0" * 128 + b"DICM"])
def test_a_broken_file_is_refused(tmp_path: Path, series: Path, content: bytes) -> None:
    (tmp_path / "rt.dcm").write_bytes(content)
    with pytest.raises(SegmentationError, match=r"rt\.dcm"):
        read(tmp_path / "rt.dcm", {"a": "Block"}, series)


def test_a_misspelled_structure_is_refused_with_the_nearest(tmp_path: Path, series: Path) -> None:
    drawn = write_structures(tmp_path / "rt.dcm", {"Tumor Bed": ball((20, 18, 12), 5.0)})
    with pytest.raises(SegmentationError, match=r"no structure 'tumor bad'.*Did you mean 'Tumor Bed'"):
        read(drawn, {"bed": "tumor bad"}, series)


def test_a_corner_on_a_row_of_centers_counts_once() -> None:
    diamond = np.array([[5.0, 1.0], [9.0, 5.0], [5.0, 9.0], [1.0, 5.0]])
    inside = filled([diamond], (11, 11))
    i, j = np.indices((11, 11))
    distance = abs(i - 5) + abs(j - 5)
    assert inside[distance < 4].all()
    assert not inside[distance > 4].any()


def test_contours_that_leave_the_grid_are_cut_off() -> None:
    wide = Plane(0.0, (np.array([[-5.0, -5.0], [20.0, -5.0], [20.0, 3.5], [-5.0, 3.5]]),))
    found = voxelized("a", [wide], (8, 8, 1))
    assert found.mask[:, :, 0].sum(axis=1).tolist() == [4] * 8
    assert found.repairs == ("a: 1 of 1 planes were cut off at the edge of the reference",)


def test_init_leaves_out_structures_beyond_the_reference(tmp_path: Path, series: Path) -> None:
    structures = {
        "Liver": ball((20, 18, 12), 12.0),
        "GTV": ball((20, 18, 12), 6.0),
        "Lung": box((4.5, 4.5), (20.5, 20.5), range(SLICES - 2, SLICES + 4)),
    }
    told = write_case(write_structures(series / "rt.dcm", structures), tmp_path / "first.toml")
    assert any(line.startswith("left out: Lung: 4 of 6 planes of structure 'Lung' lie outside") for line in told)
    assert any(line.startswith("gtv: 'GTV'") for line in told)


def test_init_fills_the_case_from_the_structures(tmp_path: Path, series: Path) -> None:
    structures = {
        "BODY": box((1.5, 1.5), (38.5, 34.5), range(SLICES)),
        "Breast": ball((20, 18, 12), 12.0),
        "Tumor Bed": ball((20, 18, 12), 6.0),
        "Marker": [],
    }
    drawn = write_structures(series / "rt.dcm", structures, {"BODY": "EXTERNAL"})
    target = tmp_path / "first.toml"
    told = write_case(drawn, target)
    case = Case.read(target)
    assert case.mesh.image is not None
    assert dict(case.mesh.image.labels) == {"breast": ("Breast",), "tumor_bed": ("Tumor Bed",)}
    assert case.mesh.image.priority == ("tumor_bed", "breast")
    assert "left out: BODY: it is the outline of the body" in told
    assert "left out: Marker: it is empty" in told
    assert np.count_nonzero(read_segmentation(case.mesh.image).values == 2) > 0
