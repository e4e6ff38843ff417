"""Conductivity from images of tensors: order and axes as the header or the case says, and never guessed."""

from __future__ import annotations

from pathlib import Path

from support.bench import COMM, STILL, Bench, bench, tissue  # isort: skip  (first: it loads MPI)

import nibabel as nib
import nrrd
import numpy as np
import pytest
from support.meshes import Array, box

from turgor.materials.errors import CaseError

SHAPE = (9, 8, 7)
TURN = np.linalg.qr(np.array([[2.0, 1.0, 0.3], [-0.8, 2.0, 0.5], [0.1, -0.6, 2.0]]))[0]
FIBERS = np.linalg.qr(np.array([[1.0, 0.4, -0.3], [0.2, 1.0, 0.7], [0.5, -0.2, 1.0]]))[0]
TENSOR = FIBERS @ np.diag([3.0, 1.0, 0.5]) @ FIBERS.T
"""Along RAS axes, with eigenvalues 3, 1 and 0.5, no two entries alike."""

FSL = ("xx", "xy", "xz", "yy", "yz", "zz")
RELATIVE = {"as": "relative", "unit": "mm^2/s", "mean": "3e-8 mm^2/(Pa*s)"}


def affine(handed: int) -> Array:
    """Return an oblique map from voxels to RAS with the cube in its middle; right-handed (1) or left-handed (-1)."""
    found = np.eye(4)
    found[:3, :3] = TURN * np.linalg.det(TURN) * (handed * 0.5, 0.6, 0.55)
    found[:3, 3] = 1.0 - found[:3, :3] @ (np.array(SHAPE) - 1) / 2
    return found


def voxels(tensor: Array, order: tuple[str, ...] = FSL) -> Array:
    """Return an image with one tensor everywhere."""
    numbers = [tensor["xyz".index(name[0]), "xyz".index(name[1])] for name in order]
    return np.broadcast_to(np.array(numbers), (*SHAPE, 6)).copy()


def nifti(folder: Path, values: Array, frame: Array, *, symmetric: bool = False) -> None:
    """Write an image; with five axes and its intent code where it is a SYMMATRIX."""
    COMM.barrier()
    if COMM.rank == 0:
        image = nib.Nifti1Image(values[:, :, :, None] if symmetric else values, frame)
        if symmetric:
            image.header.set_intent("symmetric matrix", (3,))
        nib.save(image, folder / "dti.nii.gz")
    COMM.barrier()


def mapped(folder: Path, name: str = "dti.nii.gz", **words: object) -> Bench:
    """Return a cube of 2 mm in two regions, the first with tensors of its conductivity."""
    mesh = box(3 * [np.linspace(0, 2, 4)], lambda c: (c[:, 0] > 1).astype(np.int64), ("tumor", "normal"))
    image = {"image": name, **RELATIVE, **words}
    materials = {"tumor": {**tissue(), "hydraulic_conductivity": image}, "normal": tissue(7e-8)}
    return bench(folder, mesh, materials, {"flow": STILL})


def tensors(ready: Bench) -> Array:
    """Return the tensors of the first region, after a look at those of the second."""
    found = ready.flow.coefficients.tensor("hydraulic_conductivity")
    assert found is not None
    np.testing.assert_array_equal(found[ready.domain.region == 1] - 7e-8 * np.eye(3), 0.0)
    return found[ready.domain.region == 0]


SCALED = 3e-8 * TENSOR / (4.5 / 3)
"""The tensor with a third of its trace as the case says."""


@pytest.mark.parametrize("handed", [1, -1])
@pytest.mark.parametrize("frame", ["RAS", "LPS", "voxel", "FSL"])
def test_tensors_are_turned_into_the_world(frame: str, handed: int, tmp_path: Path) -> None:
    axes = affine(handed)
    turn = {
        "RAS": np.eye(3),
        "LPS": np.diag([-1.0, -1.0, 1.0]),
        "voxel": axes[:3, :3] / np.linalg.norm(axes[:3, :3], axis=0),
    }
    # FSL reverses the first axis of images whose axes are right-handed.
    turn["FSL"] = turn["voxel"] * ((-1.0 if handed == 1 else 1.0), 1.0, 1.0)
    nifti(tmp_path, voxels(turn[frame].T @ TENSOR @ turn[frame]), axes)
    found = tensors(mapped(tmp_path, components=", ".join(FSL), frame=frame))
    # NIfTI keeps the axes in single precision.
    np.testing.assert_allclose(found, np.broadcast_to(SCALED, found.shape), atol=1e-6 * 3e-8)


@pytest.mark.parametrize("order", ["xx xy yy xz yz zz", "xx,yy,zz,xy,xz,yz", "xx, yx, zx, yy, zy, zz"])
def test_the_six_numbers_come_in_the_order_that_the_case_says(order: str, tmp_path: Path) -> None:
    names = tuple("".join(sorted(name)) for name in order.replace(",", " ").split())
    nifti(tmp_path, voxels(TENSOR, names), affine(1))
    found = tensors(mapped(tmp_path, components=order, frame="RAS"))
    np.testing.assert_allclose(found, np.broadcast_to(SCALED, found.shape), rtol=1e-12)


def test_the_header_of_a_symmetric_matrix_says_the_order_but_not_the_axes(tmp_path: Path) -> None:
    nifti(tmp_path, voxels(TENSOR, ("xx", "xy", "yy", "xz", "yz", "zz")), affine(1), symmetric=True)
    with pytest.raises(CaseError, match="does not say which axes its tensors refer to; add frame ="):
        mapped(tmp_path)
    found = tensors(mapped(tmp_path, frame="RAS"))
    np.testing.assert_allclose(found, np.broadcast_to(SCALED, found.shape), rtol=1e-12)
    with pytest.raises(CaseError, match="its header says components xx, xy, yy, xz, yz, zz, the case xx, xy, xz"):
        mapped(tmp_path, frame="RAS", components=", ".join(FSL))


def test_without_an_order_tensors_are_refused(tmp_path: Path) -> None:
    nifti(tmp_path, voxels(TENSOR), affine(1))
    with pytest.raises(CaseError, match="does not say the order of its six numbers; add components ="):
        mapped(tmp_path, frame="RAS")


@pytest.mark.parametrize("masked", [False, True])
def test_nrrd_says_order_and_axes_by_kind_and_measurement_frame(masked: bool, tmp_path: Path) -> None:
    axes = affine(1)
    to_lps = np.diag([-1.0, -1.0, 1.0])
    # In its own space, LPS, the tensors refer to turned axes.
    inner = (to_lps @ FIBERS).T @ (to_lps @ TENSOR @ to_lps) @ (to_lps @ FIBERS)
    values = voxels(inner)
    if masked:
        values = np.concatenate([np.ones((*SHAPE, 1)), values], axis=-1)
        values[:3, :, :, 1:], values[:3, :, :, 0] = 99.0, 0.0
    kind = "3D-masked-symmetric-matrix" if masked else "3D-symmetric-matrix"
    header = {
        "space": "left-posterior-superior",
        "space directions": np.vstack([np.full(3, np.nan), (to_lps @ axes[:3, :3]).T]),
        "space origin": to_lps @ axes[:3, 3],
        "kinds": [kind, "space", "space", "space"],
        "measurement frame": (to_lps @ FIBERS).T,
    }
    if COMM.rank == 0:
        nrrd.write(str(tmp_path / "dti.nrrd"), np.moveaxis(values, -1, 0), header)
    COMM.barrier()
    found = tensors(mapped(tmp_path, "dti.nrrd", missing="nearest"))
    np.testing.assert_allclose(found, np.broadcast_to(SCALED, found.shape), atol=1e-12 * 3e-8)


def test_tensors_that_are_not_positive_definite_are_no_value(tmp_path: Path) -> None:
    values = voxels(TENSOR)
    values[: SHAPE[0] // 2] = 0.0
    values[SHAPE[0] // 2, :4, :, 0] = -1.0
    nifti(tmp_path, values, affine(1))
    words = {"components": ", ".join(FSL), "frame": "RAS"}
    with pytest.raises(CaseError, match=r"lies in voxels without a value \(NaN\)"):
        mapped(tmp_path, **words)
    found = tensors(mapped(tmp_path, missing="mean", **words))
    np.testing.assert_allclose(found, np.broadcast_to(SCALED, found.shape), rtol=1e-12)


@pytest.mark.parametrize("kind", ["relative", "absolute"])
def test_averages_are_positive_definite_and_the_mean_of_a_third_of_the_trace_is_kept(kind: str, tmp_path: Path) -> None:
    root = np.random.default_rng(3).normal(size=(*SHAPE, 3, 3))
    rows, columns = np.triu_indices(3)
    values = (root @ np.swapaxes(root, -1, -2) + 0.1 * np.eye(3))[..., rows, columns]
    nifti(tmp_path, values, affine(-1))
    words = {"as": kind, "unit": "um^2/(kPa*s)", "components": ", ".join(FSL), "frame": "voxel", "missing": "nearest"}
    ready = mapped(tmp_path, **({**words, "mean": "2e-9 mm^2/(Pa*s)"}))
    found, domain = tensors(ready), ready.domain
    assert np.all(np.linalg.eigvalsh(found)[:, 0] > 0)
    numbers = ready.flow.coefficients.cells("hydraulic_conductivity")
    np.testing.assert_allclose(np.trace(found, axis1=1, axis2=2) / 3, numbers[domain.region == 0], rtol=1e-12)
    tumor = (domain.region == 0) * domain.volumes
    mean = domain.sum(tumor * numbers) / domain.sum(tumor)
    (record,) = ready.flow.coefficients.records
    assert record.tensor
    assert record.mean == pytest.approx(mean, rel=1e-12)
    if kind == "relative":
        assert mean == pytest.approx(2e-9, rel=1e-12)
    else:
        # Turning changes no trace, and averages of what is about 3.1 everywhere are near it.
        assert mean == pytest.approx(1e-9 * values[..., [0, 3, 5]].mean(), rel=0.2)
    assert record.anisotropy == pytest.approx(
        max(COMM.allgather(float(np.linalg.cond(found).max(initial=1.0)))), rel=1e-9
    )


def test_only_the_conductivity_takes_tensors(tmp_path: Path) -> None:
    nifti(tmp_path, voxels(TENSOR), affine(1))
    image = {"image": "dti.nii.gz", **RELATIVE, "mean": "1 1/mm"}
    mesh = box(3 * [np.linspace(0, 2, 3)], lambda c: np.zeros(len(c), np.int64), ("tumor",))
    for words, sentence in (
        ({"frame": "RAS"}, "only hydraulic_conductivity takes an image of tensors"),
        ({}, "9 x 8 x 7 x 6, .* expected one three-dimensional image"),
    ):
        materials = {"tumor": {**tissue(), "vessel_surface_density": {**image, **words}}}
        with pytest.raises(CaseError, match=sentence):
            bench(tmp_path, mesh, materials, {"flow": STILL})


def test_without_tensors_there_are_none(tmp_path: Path) -> None:
    mesh = box(3 * [np.linspace(0, 2, 2)], lambda c: np.zeros(len(c), np.int64), ("tumor",))
    ready = bench(tmp_path, mesh, {"tumor": tissue()}, {"flow": STILL})
    assert ready.flow.coefficients.tensor("hydraulic_conductivity") is None
