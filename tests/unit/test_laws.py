"""Constitutive laws against numbers printed in the reference collection and against their own limits."""

from __future__ import annotations

import numpy as np
import pytest

from turgor.materials import laws
from turgor.materials.quantity import Quantity

MMHG = 133.322387415


def number(text: str, unit: str) -> float:
    return Quantity.parse(text, unit).value


LPS_NORMAL = number("0.36e-7 cm/(mmHg*s)", "mm/(Pa*s)") * number("70 cm^-1", "1/mm")
LPS_TUMOR = number("2.8e-7 cm/(mmHg*s)", "mm/(Pa*s)") * number("200 cm^-1", "1/mm")


def test_the_tumor_of_baxter_and_jain_stops_filtering_at_11_5_mmhg() -> None:
    effective = laws.effective_pressure(15.6 * MMHG, 0.82, 20 * MMHG, 15 * MMHG)
    assert float(effective) == pytest.approx(1533.2, abs=0.05)  # printed to 0.1 Pa
    assert float(laws.filtration(effective, LPS_TUMOR, effective)) == 0.0


def test_its_pressure_decays_at_3682_per_meter_and_that_of_normal_tissue_at_1719() -> None:
    tumor = laws.decay_length(number("4.13e-8 cm^2/(mmHg*s)", "mm^2/(Pa*s)"), LPS_TUMOR)
    normal = laws.decay_length(number("8.53e-9 cm^2/(mmHg*s)", "mm^2/(Pa*s)"), LPS_NORMAL)
    assert 1e3 / float(tumor) == pytest.approx(3682.3, abs=0.05)
    assert 1e3 / float(normal) == pytest.approx(1718.8, abs=0.05)


def test_lymph_shortens_the_decay_to_1753_per_meter() -> None:
    lymph = number("1e-7 1/(mmHg*s)", "1/(Pa*s)")
    length = laws.decay_length(number("8.53e-9 cm^2/(mmHg*s)", "mm^2/(Pa*s)"), LPS_NORMAL, lymph)
    assert 1e3 / float(length) == pytest.approx(1752.57, abs=0.005)


def test_pressure_reaches_everywhere_where_nothing_exchanges_fluid() -> None:
    assert float(laws.decay_length(1e-8, 0.0)) == np.inf


@pytest.mark.parametrize(
    ("far", "lymphatic", "printed"), [(0.0, -4.0, 4.095e-6), (-1.0, -6.0, 3.780e-6), (-3.0, -6.0, 7.980e-6)]
)
def test_lymph_is_calibrated_to_a_far_pressure(far: float, lymphatic: float, printed: float) -> None:
    found = laws.lymphatic_conductance(LPS_NORMAL, 6.5 * MMHG, far * MMHG, lymphatic * MMHG)
    assert float(found) * MMHG == pytest.approx(printed, rel=1e-3)  # printed to four digits
    rest = laws.plateau_pressure(LPS_NORMAL, 6.5 * MMHG, found, lymphatic * MMHG)
    assert float(rest) == pytest.approx(far * MMHG, abs=1e-9)


@pytest.mark.parametrize(("conductance", "printed"), [(1e-7, 6.2519), (1.33e-5, 1.035)])
def test_lymph_at_zero_pressure_lowers_the_plateau(conductance: float, printed: float) -> None:
    rest = laws.plateau_pressure(LPS_NORMAL, 6.5 * MMHG, conductance / MMHG, 0.0)
    assert float(rest) / MMHG == pytest.approx(printed, abs=1e-3)


def test_at_the_plateau_vessels_give_what_lymphatics_take() -> None:
    rest = laws.plateau_pressure(2e-8, 900.0, 3e-8, -500.0)
    assert float(laws.filtration(rest, 2e-8, 900.0)) == pytest.approx(float(laws.lymph(rest, 3e-8, -500.0)), rel=1e-12)


def test_one_way_vessels_and_lymphatics_let_nothing_back() -> None:
    pressure = np.array([-1000.0, 0.0, 500.0, 2000.0])
    np.testing.assert_array_equal(laws.filtration_one_way(pressure, 1e-8, 500.0), [1.5e-5, 5e-6, 0.0, 0.0])
    np.testing.assert_array_equal(laws.lymph_one_way(pressure, 1e-8, 0.0), [0.0, 0.0, 5e-6, 2e-5])
    assert laws.filtration(2000.0, 1e-8, 500.0) < 0.0
    assert laws.lymph(-1000.0, 1e-8, 0.0) < 0.0


@pytest.mark.parametrize(
    ("x", "printed"),
    [
        (-2.0, 2.31303529),
        (-1.0, 1.58197671),
        (-0.1, 1.05083319),
        (0.0, 1.0),
        (0.1, 0.95083319),
        (1.0, 0.58197671),
        (5.0, 0.03391827),
        (10.0, 4.5402e-4),
    ],
)
def test_the_patlak_factor_has_its_printed_values(x: float, printed: float) -> None:
    assert float(laws.patlak_factor(x)) == pytest.approx(printed, abs=5e-9)  # printed to eight decimals


def test_the_patlak_factor_is_smooth_at_zero_and_finite_far_out() -> None:
    small = np.array([-1e-8, -1e-12, -1e-300, 1e-300, 1e-12, 1e-8])
    np.testing.assert_allclose(laws.patlak_factor(small), 1.0 - small / 2.0, rtol=1e-15)
    np.testing.assert_allclose(laws.patlak_factor(np.array([-1e6, 1e6])), [1e6, 0.0], atol=1e-300)


FILTRATIONS = np.array([-1e-2, -1e-4, -1e-9, 0.0, 1e-9, 1e-4, 1e-2])


@pytest.mark.parametrize("permeability_surface", [0.0, 1e-300, 1e-9, 1e-4, 1.0])
@pytest.mark.parametrize("reflection", [0.0, 0.5, 1.0])
def test_exchange_never_makes_negative_drug_and_carries_what_the_fluid_carries(
    permeability_surface: float, reflection: float
) -> None:
    gain, loss = laws.patlak(FILTRATIONS, permeability_surface, reflection)
    assert (gain >= 0.0).all()
    assert (loss >= 0.0).all()
    np.testing.assert_allclose(gain - loss, FILTRATIONS * (1.0 - reflection), atol=1e-15 * permeability_surface)


def test_exchange_without_diffusion_goes_with_the_fluid() -> None:
    gain, loss = laws.patlak(FILTRATIONS, 0.0, 0.1)
    np.testing.assert_array_equal(gain, np.maximum(0.9 * FILTRATIONS, 0.0))
    np.testing.assert_array_equal(loss, np.maximum(-0.9 * FILTRATIONS, 0.0))


def test_exchange_without_filtration_is_diffusion() -> None:
    gain, loss = laws.patlak(0.0, 1e-3, 0.1)
    assert float(gain) == float(loss) == 1e-3


def test_exchange_is_the_formula_of_patlak_for_either_direction_of_flow() -> None:
    diffusion, reflection = 1e-4, 0.1
    drag = FILTRATIONS[FILTRATIONS != 0.0] * (1.0 - reflection)
    peclet = drag / diffusion
    gain, loss = laws.patlak(FILTRATIONS[FILTRATIONS != 0.0], diffusion, reflection)
    np.testing.assert_allclose(loss, diffusion * laws.patlak_factor(peclet), rtol=1e-13)
    np.testing.assert_allclose(gain, diffusion * laws.patlak_factor(-peclet), rtol=1e-13)


def test_exchange_broadcasts_over_cells() -> None:
    gain, loss = laws.patlak(1e-4, np.array([1e-5, 1e-4, 1e-3]), np.array([[0.0], [1.0]]))
    assert gain.shape == loss.shape == (2, 3)


def test_a_sphere_of_3_nm_diffuses_in_water_as_the_two_pore_fit_says() -> None:
    printed = number("1e-6 cm^2/s", "mm^2/s")  # 3e-6/r cm²/s with r in nm, rounded to one digit
    assert float(laws.stokes_einstein(3e-6)) == pytest.approx(printed, rel=0.15)


TIMES = np.array([900.0, 3600.0, 7200.0, 86400.0])
AMPLITUDES, RATES = (1.0, 0.2), (1e-3, 1e-5)


def test_a_bolus_has_its_printed_values() -> None:
    found = laws.multi_exponential(TIMES, AMPLITUDES, RATES)
    np.testing.assert_allclose(found, [0.604778, 0.220252, 0.186853, 0.084295], atol=5e-7)


def test_an_infusion_has_its_printed_values() -> None:
    found = laws.multi_exponential(TIMES, AMPLITUDES, RATES, 3600.0)
    np.testing.assert_allclose(found, [0.214617, 0.466631, 0.196879, 0.085830], atol=5e-7)


def test_nothing_is_in_plasma_before_the_dose() -> None:
    for duration in (0.0, 3600.0):
        np.testing.assert_array_equal(laws.multi_exponential([-1e9, -1e-9], AMPLITUDES, RATES, duration), 0.0)


def test_a_short_infusion_is_a_bolus() -> None:
    found = laws.multi_exponential(TIMES, AMPLITUDES, RATES, 1e-6)
    np.testing.assert_allclose(found, laws.multi_exponential(TIMES, AMPLITUDES, RATES), rtol=1e-9)  # k T / 2 = 5e-10


def test_bolus_and_infusion_have_the_same_area() -> None:
    times = np.linspace(0.0, 2e6, 2_000_001)  # 1 s, and e^(-20) of the slow phase is left at the end
    area = sum(a / k for a, k in zip(AMPLITUDES, RATES, strict=True))
    for duration in (0.0, 3600.0):
        curve = laws.multi_exponential(times, AMPLITUDES, RATES, duration)
        assert np.trapezoid(curve, times) == pytest.approx(area, rel=1e-6)


def test_a_drug_that_is_not_cleared_accumulates_evenly() -> None:
    np.testing.assert_allclose(laws.multi_exponential([0.0, 25.0, 100.0, 500.0], (2.0,), (0.0,), 100.0), [0, 0.5, 2, 2])


def test_a_schedule_adds_up_its_doses() -> None:
    first = laws.multi_exponential(TIMES, AMPLITUDES, RATES, 600.0)
    second = laws.multi_exponential(TIMES - 3600.0, AMPLITUDES, RATES, 600.0)
    found = laws.schedule(TIMES, (0.0, 3600.0), AMPLITUDES, RATES, 600.0)
    np.testing.assert_allclose(found, first + second, rtol=1e-14)
    np.testing.assert_array_equal(laws.schedule(TIMES, (), AMPLITUDES, RATES), 0.0)


def test_a_half_life_is_not_a_time_constant() -> None:
    rate = 1.0 / 3600.0
    assert float(laws.multi_exponential(laws.half_life(rate), (1.0,), (rate,))) == pytest.approx(0.5, rel=1e-14)
