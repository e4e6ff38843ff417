"""Quantities: text with a unit at the door, coherent numbers in mm, g, s, nmol, K inside."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError

from turgor.materials.quantity import KINDS, Length, PositiveLength, Quantity, factor


@pytest.mark.parametrize(
    ("given", "internal"),
    [
        ("g/(mm*s^2)", "Pa"),
        ("mol/m^3", "nmol/mm^3"),
        ("umol/mL", "nmol/mm^3"),
        ("mmol/L", "nmol/mm^3"),
        ("uL", "mm^3"),
        ("mm^3*s/g", "mm^2/(Pa*s)"),
    ],
)
def test_internal_units_are_coherent(given: str, internal: str) -> None:
    assert factor(given, internal) == pytest.approx(1.0, rel=1e-14)  # rounding of pint's own constants


@pytest.mark.parametrize(
    ("text", "unit", "si", "to_internal"),
    [
        ("4.13e-8 cm^2/(mmHg*s)", "mm^2/(Pa*s)", 3.098e-14, 1e6),
        ("4.5e-12 cm^4/(dyn*s)", "mm^2/(Pa*s)", 4.5e-15, 1e6),
        ("4.9e-13 m^3*s/kg", "mm^2/(Pa*s)", 4.9e-13, 1e6),
        ("2.8e-7 cm/(mmHg*s)", "mm/(Pa*s)", 2.100e-11, 1e3),
        ("1.1e-12 m^2*s/kg", "mm/(Pa*s)", 1.1e-12, 1e3),
        ("200 cm^-1", "1/mm", 2e4, 1e-3),
        ("1.33e-5 1/(mmHg*s)", "1/(Pa*s)", 1.0e-7, 1.0),
        ("0.022 cm^2/day", "mm^2/s", 2.55e-11, 1e6),
        ("334 um/day", "mm/s", 3.87e-9, 1e3),
        ("0.61 1/day", "1/s", 7.06e-6, 1.0),
        ("2.07e3 1/(uM*h)", "mm^3/(nmol*s)", 5.75e2, 1.0),
    ],
)
def test_units_as_printed_in_papers_give_the_si_values_of_the_reference(
    text: str, unit: str, si: float, to_internal: float
) -> None:
    printed_digits = 6e-3  # the reference prints three or four digits
    assert Quantity.parse(text, unit).value == pytest.approx(si * to_internal, rel=printed_digits)


def test_a_quantity_keeps_its_text() -> None:
    quantity = Quantity.parse("15.6 mmHg", "Pa")
    assert str(quantity) == quantity.text == "15.6 mmHg"
    assert quantity.value == pytest.approx(15.6 * 133.322387415, rel=1e-9)


@pytest.mark.parametrize("internal", KINDS)
def test_the_example_of_every_unit_can_be_read(internal: str) -> None:
    assert Quantity.parse(KINDS[internal][1], internal).unit == internal


@pytest.mark.parametrize(
    ("text", "unit", "words"),
    [
        ("10", "mm", ["'10' has no unit", "'1 mm'"]),
        (10, "mm", ["10 has no unit"]),
        (True, "", ["True is not a plain number"]),
        ("ten mm", "mm", ["'ten mm' is not a length", "a number with a unit"]),
        ("", "mm", ["is not a length"]),
        ("nan mm", "mm", ["is not a length"]),
        (float("nan"), "", ["is not a plain number"]),
        ("1e999 mm", "mm", ["too large"]),
        ("1 s", "mm", ["'s' does not measure a length", "'1 mm'"]),
        ("1 mmHg", "mm", ["does not measure a length"]),
        ("0.9 mm", "", ["does not measure a plain number"]),
        ("1 mmhg", "Pa", ["unit 'mmhg' is not known", "'mmHg'"]),
        ("1 cm2/(mmHg*s)", "mm^2/(Pa*s)", ["unit 'cm2' is not known", "'cm^2'"]),
        ("1,5 mm", "mm", ["',5 mm' cannot be read as a unit"]),
        ("2 (mm", "mm", ["'(mm' cannot be read as a unit"]),
        ("1 m/0", "mm", ["cannot be read as a unit"]),
        ("1 2 mm", "mm", ["cannot be read as a unit"]),
        ("1 __import__('os')", "mm", ["cannot be read as a unit"]),
        ("1 mm^9^9^9^9", "mm", ["cannot be read as a unit"]),
        ("1 mm^(9**9**9)", "mm", ["cannot be read as a unit"]),
        ("1 " + "m" * 100, "mm", ["cannot be read as a unit"]),
        ("37 degC", "K", ["'degC' does not start at absolute zero", "'310 K'"]),
        (["1 mm"], "mm", ["is not a length"]),
    ],
)
def test_text_that_is_no_such_quantity_is_refused_in_words(text: object, unit: str, words: list[str]) -> None:
    with pytest.raises(ValueError, match="expected") as caught:
        Quantity.parse(text, unit)
    assert all(word in str(caught.value) for word in words)


class Box(BaseModel):
    model_config = ConfigDict(frozen=True)

    side: PositiveLength
    shift: Length = Quantity("0 mm", 0.0, "mm")


def test_a_model_reads_and_writes_the_text() -> None:
    box = Box.model_validate({"side": "1 cm", "shift": "-3 um"})
    assert (box.side.value, box.shift.value) == pytest.approx((10.0, -0.003))
    assert box.model_dump(mode="json") == {"side": "1 cm", "shift": "-3 um"}
    assert Box.model_validate(box.model_dump(mode="json")) == box


@pytest.mark.parametrize("side", ["0 mm", "-1 mm"])
def test_a_positive_length_is_larger_than_zero(side: str) -> None:
    with pytest.raises(ValidationError, match="larger than zero"):
        Box.model_validate({"side": side})


def test_a_quantity_of_another_unit_does_not_slip_into_a_model() -> None:
    with pytest.raises(ValidationError, match="expected 'mm'"):
        Box.model_validate({"side": Quantity.parse("10 mmHg", "Pa")})


def test_the_schema_tells_editors_what_to_write() -> None:
    side = Box.model_json_schema()["properties"]["side"]
    assert side["type"] == "string"
    assert side["examples"] == ["1 mm"]
    assert side["x-unit"] == "mm"
