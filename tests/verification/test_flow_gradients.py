"""Derivatives by every parameter of every cell, through one transposed solve: Taylor tests, and one by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from support.bench import COMM, Bench, bench, largest, tissue, total  # isort: skip  (first: it loads MPI)

import nibabel as nib
import numpy as np
import pytest
from support.meshes import Array, box

from turgor.fem.coefficients import Coefficients
from turgor.fem.physics.flow.adjoint import Sensitivity, flux, mean_pressure, probes
from turgor.fem.physics.flow.solver import Flow

PARAMETERS = (
    "hydraulic_conductivity",
    "vessel_conductivity",
    "vessel_surface_density",
    "vascular_pressure",
    "osmotic_reflection",
    "plasma_oncotic_pressure",
    "tissue_oncotic_pressure",
    "lymphatic_conductance",
    "lymphatic_pressure",
)
FLOW = {
    "conditions": [
        {"on": "normal|x+", "pressure": "300 Pa"},
        {"on": "normal|y-", "exchange": {"coefficient": "2e-8 mm/(Pa*s)", "to": "50 Pa"}},
        {"on": "tumor|x-", "inflow": "2e-6 mm/s"},
    ],
    "sources": [{"at": ["1.2 mm", "1 mm", "1 mm"], "radius": "0.5 mm", "rate": "3e-6 mm^3/s"}],
}
POINTS = np.array([[0.31, 0.72, 0.55], [1.27, 0.4, 1.61], [1.0, 1.0, 1.0]])
SEEN = np.array([500.0, 150.0, 200.0])
STEPS = (1e-3, 5e-4, 2.5e-4)
Functional = Callable[[Flow], tuple[float, Sensitivity]]


def misfit(flow: Flow) -> tuple[float, Sensitivity]:
    """Return half the squared differences from pressures seen at points [Pa²]."""
    found = probes(flow, POINTS)
    return 0.5 * float(((found.values - SEEN) ** 2).sum()), found.sensitivity(found.values - SEEN)


def squares(flow: Flow) -> tuple[float, Sensitivity]:
    """Return ∫ |v|² + s² + p²/10¹⁵, nonlinear in everything that a functional may depend on."""
    domain, found = flow.domain, flow.flux
    weights = np.where(np.arange(len(domain.volumes)) < domain.owned, domain.volumes, 0.0)
    terms = (found.mean**2).sum(axis=1) + found.divergence**2 + 1e-15 * flow.cell_pressure**2
    parts = 2e-15 * weights * flow.cell_pressure, 2 * weights[:, None] * found.mean, 2 * weights * found.divergence
    return total(float(weights @ terms)), Sensitivity(*parts)


FUNCTIONALS: Mapping[str, Functional] = {
    "the mean pressure of a region": lambda flow: mean_pressure(flow, "tumor"),
    "the misfit at points": misfit,
    "the flux through an interface": lambda flow: flux(flow, "normal|tumor"),
    "the flux through a surface with a pressure": lambda flow: flux(flow, "normal|x+"),
    "the flux through a surface with an exchange": lambda flow: flux(flow, "normal|y-"),
    "squares of all fields": squares,
}


def ready(folder: Path, **words: object) -> Bench:
    """Return two regions, one with lymph and one whose vessels do not reabsorb, both in part."""
    mesh = box(3 * [np.linspace(0, 2, 4)], lambda c: (c[:, 0] > 1).astype(np.int64), ("tumor", "normal"), sides=True)
    oncotic = {"osmotic_reflection": 0.5, "plasma_oncotic_pressure": "800 Pa", "tissue_oncotic_pressure": "300 Pa"}
    materials = {
        "tumor": {**tissue(1e-8, filtration=4e-8, pressure=800.0), **oncotic, "reabsorption": "none"},
        "normal": {**tissue(5e-8, filtration=1e-8, pressure=400.0, drainage=6e-8, lymph_pressure=297.0), **oncotic},
    }
    materials["tumor"].update(words)
    return bench(folder, mesh, materials, {"flow": FLOW}).start()


def with_cells(bench: Bench, values: Mapping[str, Array]) -> Flow:
    """Return the flow solved again with parameters given cell by cell; tensors scale with their mean."""
    domain, old = bench.domain, bench.flow.coefficients
    maps = {
        (region, name): part[domain.region == index]
        for name, part in values.items()
        for index, region in enumerate(domain.regions)
    }
    scale = {key: maps[key] / old.maps[key] for key in old.tensors}
    tensors = {key: tensor * scale[key][:, None, None] for key, tensor in old.tensors.items()}
    made = Flow(bench.flow.spec, domain, Coefficients(domain, old.values, maps, tensors), {}, bench.case)
    made.start()
    return made


def base(flow: Flow) -> dict[str, Array]:
    """Return the parameters in each cell, different everywhere, the same on any number of ranks."""
    wave = np.sin(flow.domain.centers @ np.array([3.0, 5.0, 7.0]))
    return {name: flow.coefficients.cells(name) * (1 + 0.2 * wave) for name in PARAMETERS}


def direction(flow: Flow, values: Array, seed: int) -> Array:
    """Return a change of about the size of the values."""
    return np.where(values == 0, largest(values), values) * np.cos(
        flow.domain.centers @ np.array([11.0, 4.0, 9.0]) + seed
    )


def remainders(
    bench: Bench, functionals: Mapping[str, Functional], names: tuple[str, ...], steps: tuple[float, ...] = STEPS
) -> dict[str, list[float]]:
    """Return |J(q + ε δ) - J(q) - ε dJ·δ| / |J(q)| of functionals for ε halved, δ a change of all cells."""
    flow = bench.flow
    old = base(flow)
    start = with_cells(bench, old)
    changes = {name: direction(flow, old[name], seed) for seed, name in enumerate(names)}
    values, slopes = {}, {}
    for key, functional in functionals.items():
        values[key], sensitivity = functional(start)
        found = start.transposed(sensitivity)
        slopes[key] = sum(flow.domain.sum(found[name] * change) for name, change in changes.items())
        assert abs(slopes[key]) > 1e-3 * abs(values[key])
    errors: dict[str, list[float]] = {key: [] for key in functionals}
    for step in steps:
        moved = with_cells(bench, {name: old[name] + step * changes.get(name, 0.0) for name in old})
        # The switches are the same, so that there is a derivative.
        assert np.array_equal(moved.rates.drains, start.rates.drains)
        assert np.array_equal(moved.rates.filters, start.rates.filters)
        for key, functional in functionals.items():
            off = functional(moved)[0] - values[key] - step * slopes[key]
            errors[key].append(abs(off) / abs(values[key]))
    return errors


def assert_second_order(errors: Mapping[str, list[float]]) -> None:
    """Assert that each remainder falls as the square of the step, to its third order, which is a thousandth of it."""
    for key, found in errors.items():
        np.testing.assert_allclose(np.log2(np.divide(found[:-1], found[1:])), 2.0, atol=0.02, err_msg=key)


def test_the_remainder_of_a_step_in_all_parameters_falls_as_its_square(tmp_path: Path) -> None:
    assert_second_order(remainders(ready(tmp_path), FUNCTIONALS, PARAMETERS))


def test_each_parameter_alone_has_its_derivative(tmp_path: Path) -> None:
    bench = ready(tmp_path)
    for name in PARAMETERS:
        assert_second_order(remainders(bench, {name: squares}, (name,), STEPS[:2]))


def test_cells_much_larger_than_the_layer_have_their_derivatives(tmp_path: Path) -> None:
    # Vessels a hundred times as leaky: 1/α is 0.05 mm in cells of 0.7 mm, and the layer's own term counts.
    bench = ready(tmp_path, reabsorption="linear", vessel_conductivity="4e-6 mm/(Pa*s)")
    assert_second_order(remainders(bench, FUNCTIONALS, PARAMETERS, STEPS[:2]))


def test_with_tensors_the_derivative_is_that_by_their_mean_at_the_same_shape(tmp_path: Path) -> None:
    if COMM.rank == 0:
        root = np.random.default_rng(2).normal(size=(4, 4, 4, 3, 3))
        tensors = root @ np.swapaxes(root, -1, -2) + 0.5 * np.eye(3)
        rows, columns = np.triu_indices(3)
        nib.save(nib.Nifti1Image(tensors[..., rows, columns], np.eye(4)), tmp_path / "dti.nii.gz")
    COMM.barrier()
    image = {"image": "dti.nii.gz", "unit": "mm^2/s", "as": "relative", "mean": "1e-8 mm^2/(Pa*s)"}
    words = {"components": "xx, xy, xz, yy, yz, zz", "frame": "RAS", "missing": "nearest"}
    bench = ready(tmp_path, hydraulic_conductivity={**image, **words})
    assert bench.flow.coefficients.tensor("hydraulic_conductivity") is not None
    assert_second_order(remainders(bench, FUNCTIONALS, PARAMETERS, STEPS[:2]))


def test_both_switches_are_on_in_part(tmp_path: Path) -> None:
    flow = ready(tmp_path).flow
    domain = flow.domain
    for switch, region in ((flow.rates.drains, "normal"), (flow.rates.filters, "tumor")):
        share = domain.sum(domain.volumes * switch * domain.within([region]))
        assert 0.05 < share / domain.sum(domain.volumes * domain.within([region])) < 0.95


def test_the_derivative_by_a_source_is_that_of_adding_fluid(tmp_path: Path) -> None:
    flow = ready(tmp_path).flow
    value, sensitivity = mean_pressure(flow, "tumor")
    by_source = flow.transposed(sensitivity)["source"]
    more = [1.001 * density for density in flow.injected]
    change = flow.domain.sum(by_source * 0.001 * flow.rates.source)
    flow.injected = more
    flow.start()
    # The flow is linear in its source as long as nothing switches.
    assert mean_pressure(flow, "tumor")[0] - value == pytest.approx(change, rel=1e-6)


def test_gradients_are_the_same_on_any_number_of_ranks(tmp_path: Path) -> None:
    bench = ready(tmp_path)
    flow = bench.flow
    found = flow.transposed(misfit(flow)[1])
    # Against sums that a single process gets: each rank solves the whole case by itself, too.
    sums = {name: flow.domain.sum(part * direction(flow, 1 + 0 * part, 3)) for name, part in found.items()}
    assert all(sum_ == COMM.bcast(sum_, root=0) for sum_ in sums.values())
    ghosts = flow.domain.region[flow.domain.owned :]
    assert all(len(part) == flow.domain.owned + len(ghosts) for part in found.values())
    # By hand, for one cell: central differences by its conductivity.
    old = base(flow)
    start = with_cells(bench, old)
    value = start.transposed(misfit(start)[1])["hydraulic_conductivity"]
    near = np.linalg.norm(flow.domain.centers - np.array([0.9, 0.8, 0.8]), axis=1)
    least = min(COMM.allgather(float(near.min(initial=np.inf))))
    chosen = near == least
    both = []
    for sign in (1, -1):
        moved = {**old, "hydraulic_conductivity": old["hydraulic_conductivity"] * (1 + sign * 1e-3 * chosen)}
        both.append(misfit(with_cells(bench, moved))[0])
    weights = np.where(chosen, old["hydraulic_conductivity"], 0.0)
    assert flow.domain.sum(value * weights) == pytest.approx((both[0] - both[1]) / 2e-3, rel=1e-4)
