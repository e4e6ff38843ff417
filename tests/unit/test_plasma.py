"""The plasma over a step, whatever its length."""

from __future__ import annotations

import numpy as np
import pytest

from turgor.fem.physics.drug.plasma import Plasma


@pytest.mark.parametrize("length", [1.0, 60.0, 3600.0, 86400.0])
def test_the_mean_of_a_bolus_over_a_step_is_exact_for_steps_far_longer_than_its_phases(length: float) -> None:
    amplitudes, rates = (3.0, 0.5), (2.7e-3, 1.2e-5)
    plasma = Plasma(dose=2.0, starts=(0.0,), amplitudes=amplitudes, rates=rates, free=0.25)
    exact = sum(0.25 * 2.0 * a * -np.expm1(-k * length) / k for a, k in zip(amplitudes, rates, strict=True)) / length
    assert plasma.mean(0.0, length) == pytest.approx(exact, rel=1e-9)  # five Gauss points a part no longer than a phase


def test_there_is_none_before_the_first_dose() -> None:
    plasma = Plasma(dose=2.0, starts=(100.0,), amplitudes=(1.0,), rates=(1e-2,))
    assert plasma.mean(0.0, 100.0) == 0.0
