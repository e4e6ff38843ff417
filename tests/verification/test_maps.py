"""Maps of a parameter: averages over cells in world coordinates, whatever the image's axes; refusals in a sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from support.bench import COMM, STILL, Bench, bench, largest, tissue  # isort: skip  (first: it loads MPI)

import nibabel as nib
import numpy as np
import pytest
from support.meshes import Array, box

from turgor.materials.errors import CaseError

SHAPE = (14, 12, 13)
GRADIENT = np.array([0.3, -0.7, 0.2])


def linear(world: Array) -> Array:
    """Return a linear function of world coordinates [mm], positive on the mesh."""
    return np.asarray(5.0 + world @ GRADIENT)


def turned(spacing: tuple[float, float, float]) -> Array:
    """Return a map from voxels to the world with a rotation about no axis and the mesh in its middle.

    NIfTI keeps it in single precision.
    """
    turn, _ = np.linalg.qr(np.array([[2.0, 1.0, 0.3], [-0.8, 2.0, 0.5], [0.1, -0.6, 2.0]]))
    affine = np.eye(4)
    affine[:3, :3] = turn * spacing
    affine[:3, 3] = np.array([1.0, 1.0, 1.0]) - affine[:3, :3] @ (np.array(SHAPE) - 1) / 2
    return affine


def write(folder: Path, values: Callable[[Array], Array], affine: Array) -> None:
    """Write an image whose voxels hold a function of their centers in the world."""
    affine = affine.astype(np.float32).astype(np.float64)
    index = np.stack(np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij"), axis=-1).reshape(-1, 3)
    world = index @ affine[:3, :3].T + affine[:3, 3]
    if COMM.rank == 0:
        nib.save(nib.Nifti1Image(values(world).reshape(SHAPE), affine), folder / "map.nii.gz")
    COMM.barrier()


def mapped(folder: Path, **words: object) -> Bench:
    """Return a cube of 2 mm in two regions, the first with a map of its conductivity."""
    image = {"image": "map.nii.gz", "unit": "um^2/(kPa*s)", "as": "absolute", **words}
    mesh = box(3 * [np.linspace(0, 2, 5)], lambda c: (c[:, 0] > 1).astype(np.int64), ("tumor", "normal"))
    materials = {"tumor": {**tissue(), "hydraulic_conductivity": image}, "normal": tissue(7e-8)}
    return bench(folder, mesh, materials, {"flow": STILL})


def conductivity(ready: Bench) -> Array:
    return ready.flow.coefficients.cells("hydraulic_conductivity")


@pytest.mark.parametrize("spacing", [(0.4, 0.5, 0.45), (1.0, 1.3, 0.8)])
def test_averages_of_a_linear_image_are_exact_in_any_orientation(
    spacing: tuple[float, float, float], tmp_path: Path
) -> None:
    write(tmp_path, linear, turned(spacing))
    ready = mapped(tmp_path)
    tumor = ready.domain.region == 0
    # Sample points lie evenly in each cell, and interpolation between voxels is linear.
    np.testing.assert_allclose(conductivity(ready)[tumor], 1e-9 * linear(ready.domain.centers[tumor]), rtol=1e-12)
    assert np.all(conductivity(ready)[~tumor] == 7e-8)


def test_averages_of_a_smooth_image_approach_the_integral(tmp_path: Path) -> None:
    write(tmp_path, lambda x: 3.0 + np.asarray((x**2).sum(axis=1)), turned((0.3, 0.3, 0.3)))
    ready = mapped(tmp_path)
    tumor = ready.domain.region == 0
    points, center = ready.domain.points[tumor], ready.domain.centers[tumor]
    # The mean of |x|² over a tetrahedron is |x_T|² + Σ|x_i - x_T|²/20.
    spread = ((points - center[:, None]) ** 2).sum(axis=(1, 2)) / 20
    exact = 3.0 + (center**2).sum(axis=1) + spread
    # Interpolation adds up to h²/4 for each axis; samples miss at most a third of the spread.
    assert largest(conductivity(ready)[tumor] / 1e-9 - exact) < 3 * 0.3**2 / 4 + float(spread.max(initial=0.0)) / 3


@pytest.mark.parametrize("mean", ["4e-8 mm^2/(Pa*s)", "1e-9 mm^2/(Pa*s)"])
def test_a_relative_map_keeps_the_mean_over_its_region(mean: str, tmp_path: Path) -> None:
    write(tmp_path, linear, turned((0.4, 0.5, 0.45)))
    ready = mapped(tmp_path, **{"as": "relative", "mean": mean})
    domain, tumor = ready.domain, ready.domain.region == 0
    volume = domain.sum(domain.volumes * tumor)
    found = domain.sum(domain.volumes * tumor * conductivity(ready)) / volume
    assert found == pytest.approx(float(mean.split()[0]), rel=1e-12)
    # The pattern is that of the image.
    average = domain.sum(domain.volumes * tumor * linear(domain.centers)) / volume
    np.testing.assert_allclose(conductivity(ready)[tumor] / found, linear(domain.centers[tumor]) / average, rtol=1e-11)


def test_the_units_of_an_absolute_map_are_converted(tmp_path: Path) -> None:
    write(tmp_path, linear, turned((0.4, 0.5, 0.45)))
    ready = mapped(tmp_path, unit="cm^2/(MPa*s)")
    tumor = ready.domain.region == 0
    np.testing.assert_allclose(conductivity(ready)[tumor], 1e-4 * linear(ready.domain.centers[tumor]), rtol=1e-12)


def test_the_flow_uses_the_map_cell_by_cell(tmp_path: Path) -> None:
    write(tmp_path, linear, turned((0.4, 0.5, 0.45)))
    ready = mapped(tmp_path).start()
    np.testing.assert_array_equal(ready.flow.conductivity.x.array, conductivity(ready))


def test_a_map_that_covers_part_of_its_region_is_refused_with_the_share(tmp_path: Path) -> None:
    affine = np.diag([0.2, 0.2, 0.2, 1.0])
    affine[:3, 3] = -0.5
    write(tmp_path, linear, affine)
    # It ends at x = 2.2 and z = 2.0, but at y = 1.8.
    with pytest.raises(
        CaseError, match=r"materials\.tumor\.hydraulic_conductivity: the map map\.nii\.gz covers 9\d\.\d %"
    ):
        mapped(tmp_path)


def test_a_map_outside_the_organ_is_refused(tmp_path: Path) -> None:
    affine = np.diag([0.2, 0.2, 0.2, 1.0])
    affine[:3, 3] = 50.0
    write(tmp_path, linear, affine)
    with pytest.raises(CaseError, match=r"covers 0\.0 % of the region, expected all of it"):
        mapped(tmp_path)


def test_a_map_with_holes_in_the_region_is_refused_and_holes_elsewhere_are_not(tmp_path: Path) -> None:
    def holed(low: float, high: float) -> Callable[[Array], Array]:
        return lambda world: np.where((world[:, 0] > low) & (world[:, 0] < high), np.nan, linear(world))

    write(tmp_path, holed(0.2, 0.8), turned((0.4, 0.5, 0.45)))
    with pytest.raises(
        CaseError, match=r"materials\.tumor\.hydraulic_conductivity: map\.nii\.gz holds values that are no"
    ):
        mapped(tmp_path)
    write(tmp_path, holed(1.9, 9.0), turned((0.4, 0.5, 0.45)))
    ready = mapped(tmp_path)
    assert np.all(np.isfinite(conductivity(ready)))


def test_a_relative_map_without_any_value_is_refused(tmp_path: Path) -> None:
    write(tmp_path, lambda world: np.zeros(len(world)), turned((0.4, 0.5, 0.45)))
    with pytest.raises(CaseError, match="has mean 0 over the region, expected more than zero"):
        mapped(tmp_path, **{"as": "relative", "mean": "1e-8 mm^2/(Pa*s)"})


def test_a_map_with_values_that_the_parameter_cannot_have_is_refused(tmp_path: Path) -> None:
    write(tmp_path, lambda world: linear(world) - 5.0, turned((0.4, 0.5, 0.45)))
    with pytest.raises(CaseError, match=r"materials\.tumor\.hydraulic_conductivity: the map map\.nii\.gz gives -"):
        mapped(tmp_path)
