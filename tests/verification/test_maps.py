"""Maps of a parameter: averages over cells in world coordinates, whatever the image's axes; refusals in a sentence."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from support.bench import COMM, STILL, Bench, bench, largest, tissue  # isort: skip  (first: it loads MPI)

from turgor.fem.startup import MPI

import nibabel as nib
import numpy as np
import pytest
from support.meshes import Array, box

from turgor.fem.maps import Source, cell_averages
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
    save(folder, values(index @ affine[:3, :3].T + affine[:3, 3]).reshape(SHAPE), affine)


def save(folder: Path, voxels: Array, affine: Array) -> None:
    """Write an image, when all ranks are done with the last one."""
    COMM.barrier()
    if COMM.rank == 0:
        nib.save(nib.Nifti1Image(voxels, affine), folder / "map.nii.gz")
    COMM.barrier()


def mapped(folder: Path, **words: object) -> Bench:
    """Return a cube of 2 mm in two regions, the first with a map of its conductivity."""
    image = {"image": "map.nii.gz", "unit": "um^2/(kPa*s)", "as": "absolute", **words}
    mesh = box(3 * [np.linspace(0, 2, 5)], lambda c: (c[:, 0] > 1).astype(np.int64), ("tumor", "normal"))
    materials = {"tumor": {**tissue(), "hydraulic_conductivity": image}, "normal": tissue(7e-8)}
    return bench(folder, mesh, materials, {"flow": STILL})


def whole(folder: Path, cells: int) -> Bench:
    """Return a cube of 2 mm of so many bricks on each edge in one region, with a map of its conductivity."""
    image = {"image": "map.nii.gz", "unit": "um^2/(kPa*s)", "as": "absolute"}
    mesh = box(3 * [np.linspace(0, 2, cells + 1)], lambda c: np.zeros(len(c), np.int64), ("tumor",))
    return bench(folder, mesh, {"tumor": {**tissue(), "hydraulic_conductivity": image}}, {"flow": STILL})


def of_vessels(folder: Path, image: dict[str, object]) -> Bench:
    """Return the cube of `mapped` with a map of the vessels in its first region."""
    mesh = box(3 * [np.linspace(0, 2, 5)], lambda c: (c[:, 0] > 1).astype(np.int64), ("tumor", "normal"))
    materials = {"tumor": {**tissue(), "vessel_surface_density": image}, "normal": tissue()}
    return bench(folder, mesh, materials, {"flow": STILL})


def like_tumor(folder: Path, **words: object) -> Bench:
    """Return the cube of `mapped` with the library's tumor and changes in its first region."""
    mesh = box(3 * [np.linspace(0, 2, 5)], lambda c: (c[:, 0] > 1).astype(np.int64), ("tumor", "normal"))
    return bench(folder, mesh, {"tumor": {"like": "tumor", **words}, "normal": tissue()}, {"flow": STILL})


def vessels(ready: Bench) -> Array:
    return ready.flow.coefficients.cells("vessel_surface_density")


def conductivity(ready: Bench) -> Array:
    return ready.flow.coefficients.cells("hydraulic_conductivity")


@pytest.mark.parametrize("spacing", [(0.4, 0.5, 0.45), (1.0, 1.3, 0.8)])
def test_averages_of_a_linear_image_are_exact_in_any_orientation(
    spacing: tuple[float, float, float], tmp_path: Path
) -> None:
    write(tmp_path, linear, turned(spacing))
    ready = mapped(tmp_path)
    tumor = ready.domain.region == 0
    # Interpolation between voxels is linear, and integrals over cells are exact.
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
    # Interpolation adds up to h²/4 for each axis, and the integral over the cell nothing.
    error = conductivity(ready)[tumor] / 1e-9 - exact
    assert float(error.min(initial=0.0)) > -1e-12
    assert largest(error) < 3 * 0.3**2 / 4


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
    np.testing.assert_array_equal(ready.flow.conductivity, conductivity(ready))


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
        CaseError, match=r"hydraulic_conductivity: the map map\.nii\.gz covers .* voxels without a value"
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


@pytest.mark.parametrize("cells", [1, 6, 20])
def test_the_integral_over_a_region_is_the_sum_of_its_voxels_whatever_the_cells(cells: int, tmp_path: Path) -> None:
    # Voxels of 0.2 mm fill the cube; cells are ten times as large, about as large, and half as large.
    voxels = np.random.default_rng(4).random((10, 10, 10))
    affine = np.diag([0.2, 0.2, 0.2, 1.0])
    affine[:3, 3] = 0.1
    save(tmp_path, voxels, affine)
    ready = whole(tmp_path, cells)
    found = ready.domain.sum(ready.domain.volumes * conductivity(ready)) / 1e-9
    # NIfTI keeps the spacing in single precision, so that the image may end 1e-7 before the cube does.
    assert found == pytest.approx(0.2**3 * voxels.sum(), rel=1e-6)


def test_the_average_of_a_large_cell_is_that_of_its_parts(tmp_path: Path) -> None:
    affine = turned((0.4, 0.35, 0.45)).astype(np.float32).astype(np.float64)
    save(tmp_path, np.random.default_rng(5).random(SHAPE), affine)
    sums = []
    for cells in (1, 4):
        ready = whole(tmp_path, cells)
        weighted = ready.domain.volumes * conductivity(ready) / 1e-9
        # The six cells of the cube are told apart by the order of their coordinates; finer ones lie in them.
        order = np.argsort(ready.domain.centers, axis=1) @ np.array([1, 3, 9])
        sums.append([ready.domain.sum(weighted * (order == number)) for number in sorted({*COMM.allreduce([*order])})])
    # Cut in other places, the same to rounding: the integrals are exact, also over cells of many voxels.
    np.testing.assert_allclose(sums[0], sums[1], rtol=1e-11)


def test_a_product_of_coordinates_has_the_average_of_its_formula(tmp_path: Path) -> None:
    affine = np.diag([0.5, 0.25, 0.5, 1.0])
    affine[:3, 3] = (-1.0, -0.5, -1.0)
    write(tmp_path, lambda x: 9.0 + x[:, 0] * x[:, 1], affine)
    ready = mapped(tmp_path)
    tumor = ready.domain.region == 0
    points, center = ready.domain.points[tumor], ready.domain.centers[tumor]
    # Over a tetrahedron the mean of x y is x_T y_T + Σ (x_i - x_T)(y_i - y_T)/20; along the axes it is trilinear.
    away = points - center[:, None]
    exact = 9.0 + center[:, 0] * center[:, 1] + (away[:, :, 0] * away[:, :, 1]).sum(axis=1) / 20
    np.testing.assert_allclose(conductivity(ready)[tumor], 1e-9 * exact, rtol=1e-12)


def test_averages_are_the_same_on_any_number_of_ranks(tmp_path: Path) -> None:
    save(tmp_path, np.random.default_rng(6).random(SHAPE), turned((0.4, 0.35, 0.45)))
    ready = mapped(tmp_path, missing="nearest")
    domain = ready.domain
    alone = cell_averages(Source(tmp_path / "map.nii.gz"), domain.points, MPI.COMM_SELF)
    assert not isinstance(alone, str)
    tumor = domain.region == 0
    # Each rank alone, with the whole image, against all together, each with the box that it needs.
    np.testing.assert_allclose(conductivity(ready)[tumor], 1e-9 * alone.values[tumor], rtol=1e-12)


def test_the_part_of_a_region_without_a_value_is_named(tmp_path: Path) -> None:
    affine = np.diag([0.2, 0.2, 0.2, 1.0])
    affine[:3, 3] = -0.1
    write(tmp_path, lambda x: np.where(x[:, 0] < 0.2, np.nan, linear(x)), affine)
    # Voxels up to x = 0.2 have none, of the region that ends at x = 1; the image ends at y = 2.2 and z = 2.4.
    with pytest.raises(CaseError, match=r"covers 80\.0 % .*; 20 % lies in voxels without a value \(NaN\)\. Mend"):
        mapped(tmp_path)
    affine[1, 3] = 0.3
    write(tmp_path, lambda x: np.where(x[:, 0] < 0.2, np.nan, linear(x)), affine)
    with pytest.raises(CaseError, match=r"covers 72\.0 % .*; 10 % lies beyond the image and 18 % lies in voxels"):
        mapped(tmp_path)


@pytest.mark.parametrize("words", [{}, {"as": "relative", "mean": "3e-9 mm^2/(Pa*s)"}])
def test_holes_get_the_mean_of_the_rest_where_the_case_says_so(words: dict[str, object], tmp_path: Path) -> None:
    affine = np.diag([0.2, 0.2, 0.2, 1.0])
    affine[:3, 3] = -0.1
    write(tmp_path, lambda x: np.where(x[:, 0] < 0.6, np.nan, linear(x)), affine)
    ready = mapped(tmp_path, missing="mean", **words)
    domain, tumor = ready.domain, ready.domain.region == 0
    values = conductivity(ready)
    mean = domain.sum(domain.volumes * values * tumor) / domain.sum(domain.volumes * tumor)
    # Cells end at x = 0.5, and the hole at 0.6, so that there is nothing in the first layer.
    first = domain.centers[:, 0] < 0.5
    np.testing.assert_allclose(values[first], mean, rtol=1e-12)
    if words:
        assert mean == pytest.approx(3e-9, rel=1e-12)
    else:
        # The middle of what is left is at x = 0.8, but half a voxel at its edge is flat.
        assert mean == pytest.approx(1e-9 * linear(np.array([0.8, 1.0, 1.0])), rel=2e-3)
    (record,) = ready.flow.coefficients.records
    assert (record.missing, record.beyond) == ("mean", pytest.approx(0.0, abs=1e-6))
    assert record.empty == pytest.approx(0.6, rel=1e-6)
    assert record.mean == pytest.approx(mean, rel=1e-12)


def test_holes_get_the_nearest_values_where_the_case_says_so(tmp_path: Path) -> None:
    affine = np.diag([0.2, 0.2, 0.2, 1.0])
    affine[:3, 3] = -0.1
    write(tmp_path, lambda x: np.where(x[:, 0] < 0.6, np.nan, 3.0 + x[:, 0]), affine)
    ready = mapped(tmp_path, missing="nearest")
    first = ready.domain.centers[:, 0] < 0.5
    values = conductivity(ready)[ready.domain.region == 0] / 1e-9
    # The nearest cells with a value lie between x = 0.6 and 1, where it is from 3.7 at the first center to 4.
    assert np.all((values >= 3.7 - 1e-6) & (values <= 4.0 + 1e-6))
    assert np.all(conductivity(ready)[first] < 3.85e-9)


def test_zeros_stand_for_no_value_only_where_the_case_says_so(tmp_path: Path) -> None:
    affine = np.diag([0.2, 0.2, 0.2, 1.0])
    affine[:3, 3] = -0.1
    write(tmp_path, lambda x: np.where(x[:, 0] < 0.6, 0.0, 4.0), affine)
    relative = {"as": "relative", "mean": "4e-9 1/mm"}
    image = {"image": "map.nii.gz", "unit": "1/min", **relative}
    (record,) = of_vessels(tmp_path, image).flow.coefficients.records
    assert record.zero == pytest.approx(0.5, abs=1e-6)
    assert "where zero means no value, say no_value = 0" in record.sentences[0]
    filled = of_vessels(tmp_path, {**image, "no_value": 0, "missing": "mean"})
    tumor = filled.domain.region == 0
    np.testing.assert_allclose(vessels(filled)[tumor], 4e-9, rtol=1e-12)
    assert not filled.flow.coefficients.notes


def test_a_relative_map_is_the_same_in_any_unit(tmp_path: Path) -> None:
    image = {"image": "map.nii.gz", "unit": "1/min", "as": "relative", "mean": "20 1/mm"}
    found = []
    for factor, unit in ((1.0, "1/min"), (1 / 60, "1/s"), (7.0, "%")):
        write(tmp_path, lambda x, factor=factor: factor * linear(x), turned((0.4, 0.5, 0.45)))  # type: ignore[misc]
        found.append(vessels(of_vessels(tmp_path, {**image, "unit": unit})))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-12)
    np.testing.assert_allclose(found[2], found[0], rtol=1e-12)


def test_an_absolute_map_in_a_wrong_unit_is_refused_with_the_factor(tmp_path: Path) -> None:
    # The library's tumor has 2.8e-7 cm/(mmHg s); the map holds that on average, per minute.
    write(tmp_path, lambda x: 2.8e-7 * 60 * linear(x) / 4.65, turned((0.4, 0.5, 0.45)))
    image = {"image": "map.nii.gz", "unit": "cm/(mmHg*min)", "as": "absolute"}
    ready = like_tumor(tmp_path, vessel_conductivity=image)
    assert not ready.flow.coefficients.notes
    with pytest.raises(CaseError, match=r"materials\.tumor\.vessel_conductivity: .*, 60 times the one of this"):
        like_tumor(tmp_path, vessel_conductivity={**image, "unit": "cm/(mmHg*s)"})
    with pytest.raises(CaseError, match="per minute or per second"):
        like_tumor(tmp_path, vessel_conductivity={**image, "unit": "cm/(mmHg*s)"})
    expected = {**image, "unit": "cm/(mmHg*s)", "mean": "1.7e-5 cm/(mmHg*s)"}
    assert not like_tumor(tmp_path, vessel_conductivity=expected).flow.coefficients.notes
    with pytest.raises(CaseError, match=r"1/60.* of the one that the case expects"):
        like_tumor(tmp_path, vessel_conductivity={**expected, "unit": "cm/(mmHg*min)"})


def test_a_map_somewhat_beyond_what_is_known_is_a_note(tmp_path: Path) -> None:
    write(tmp_path, lambda x: 200 * 5 * linear(x) / 4.7, turned((0.4, 0.5, 0.45)))
    ready = like_tumor(tmp_path, vessel_surface_density={"image": "map.nii.gz", "unit": "1/cm", "as": "absolute"})
    (note,) = ready.flow.coefficients.notes
    assert note.startswith("materials.tumor.vessel_surface_density: the map map.nii.gz has mean")
    assert "times the one of this tissue in the library (20 1/mm)" in note


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"missing": "zero"}, 'missing = \'zero\', expected one of "refuse", "mean", "nearest"'),
        ({"no_value": "0"}, "no_value = '0', expected a number as it stands in the image"),
        ({"fill": "mean"}, "unknown key 'fill'"),
        ({"components": "xx, xy"}, "expected the order of the six numbers"),
        ({"frame": "RAI"}, 'frame = \'RAI\', expected one of "RAS", "LPS", "voxel", "FSL"'),
    ],
)
def test_words_beside_an_image_are_checked(words: dict[str, object], sentence: str, tmp_path: Path) -> None:
    write(tmp_path, linear, turned((0.4, 0.5, 0.45)))
    with pytest.raises(CaseError, match=re.escape(sentence)):
        mapped(tmp_path, **words)
