"""The library of tissues and agents: every value has a unit, a source or a reason, and a place within its bounds."""

from __future__ import annotations

import io
import math
import subprocess
import sys

import numpy as np
import pytest
from rich.console import Console

from turgor.materials import PARAMETERS, CaseError, Entry, Quantity, bibliography, citation, laws, library
from turgor.materials.library import AGENT_PARAMETERS, GROUPS, Agent, Tissue
from turgor.materials.references import references
from turgor.materials.show import render_library

MMHG = 133.322387415

TISSUES = (
    "tumor",
    "normal tissue",
    "necrotic core",
    "brain gray matter",
    "brain white matter",
    "cerebrospinal fluid",
    "breast",
    "adipose",
    "lung",
    "liver",
    "muscle",
    "glioblastoma",
    "hepatocellular carcinoma",
    "breast carcinoma",
)
AGENTS = ("doxorubicin", "IgG", "Gd-DTPA", "liposome", "nanoparticle")
FLOW = (
    "hydraulic_conductivity",
    "vessel_conductivity",
    "vessel_surface_density",
    "vascular_pressure",
    "osmotic_reflection",
    "plasma_oncotic_pressure",
    "tissue_oncotic_pressure",
    "lymphatic_conductance",
)
DRUG = ("diffusivity", "vascular_permeability", "filtration_reflection")


def of_agent(agent: Agent) -> list[Entry]:
    phases = [entry for phase in agent.kinetics for entry in phase]
    return [agent.molar_mass, agent.unbound_fraction, *phases, *(e for v in agent.values.values() for e in v.values())]


def entries() -> list[tuple[str, Entry]]:
    tissues = [(t.name, entry) for t in library().tissues.values() for entry in t.values.values()]
    return tissues + [(a.name, entry) for a in library().agents.values() for entry in of_agent(a)]


def number(tissue: Tissue, parameter: str) -> float:
    return value(tissue.values[parameter])


def value(entry: Entry) -> float:
    assert isinstance(entry.quantity, Quantity)
    return entry.quantity.value


def filtering(tissue: Tissue) -> tuple[float, float]:
    pressures = (number(tissue, name) for name in FLOW[3:7])
    conductance = number(tissue, "vessel_conductivity") * number(tissue, "vessel_surface_density")
    return conductance, float(laws.effective_pressure(*pressures))


def test_the_library_has_what_the_manual_promises() -> None:
    assert tuple(library().tissues) == TISSUES
    assert tuple(library().agents) == AGENTS


@pytest.mark.parametrize("name", TISSUES)
def test_a_tissue_has_all_that_flow_and_drug_need_from_it(name: str) -> None:
    tissue = library().tissue(name)
    assert tissue.group in GROUPS
    needed = (*FLOW, "porosity", "available_volume_fraction", "youngs_modulus", "poisson_ratio")
    assert [parameter for parameter in needed if parameter not in tissue.values] == []


@pytest.mark.parametrize("name", AGENTS)
def test_an_agent_has_all_that_a_run_needs_in_every_group_of_tissues(name: str) -> None:
    agent = library().agent(name)
    assert tuple(agent.values) == GROUPS
    assert all(parameter in values for values in agent.values.values() for parameter in DRUG)
    assert agent.kinetics
    assert agent.species


@pytest.mark.parametrize(
    ("owner", "entry"), entries(), ids=lambda item: item if isinstance(item, str) else item.parameter
)
def test_a_value_lies_within_its_bounds_and_its_range(owner: str, entry: Entry) -> None:
    parameter = PARAMETERS.get(entry.parameter) or AGENT_PARAMETERS[entry.parameter]
    assert parameter.low <= value(entry) <= parameter.high
    slack = 1e-12 * abs(value(entry))  # the same number in two units
    assert entry.low is None or parameter.low <= entry.low.value <= value(entry) + slack
    assert entry.high is None or value(entry) - slack <= entry.high.value <= parameter.high


@pytest.mark.parametrize(
    ("owner", "entry"), entries(), ids=lambda item: item if isinstance(item, str) else item.parameter
)
def test_a_value_has_a_source_in_the_bibliography_or_a_reason(owner: str, entry: Entry) -> None:
    if entry.confidence == "cited":
        assert entry.source in references()
    else:
        assert entry.source == "assumed"
        assert len(entry.reason) > 10


def test_what_nobody_has_read_is_never_cited() -> None:
    believed = [entry for _, entry in entries() if "believed to stand in" in entry.reason]
    assert len(believed) > 10
    assert {entry.confidence for entry in believed} == {"assumed"}


@pytest.mark.parametrize("name", TISSUES)
def test_a_tissue_has_no_more_accessible_fluid_than_fluid(name: str) -> None:
    tissue = library().tissue(name)
    assert number(tissue, "available_volume_fraction") <= number(tissue, "porosity")


@pytest.mark.parametrize("name", AGENTS)
def test_an_agent_reaches_no_more_than_the_fluid_of_any_tissue_of_its_group(name: str) -> None:
    agent = library().agent(name)
    for tissue in library().tissues.values():
        override = agent.values[tissue.group].get("available_volume_fraction")
        assert override is None or value(override) <= number(tissue, "porosity")


def test_tumor_and_normal_tissue_are_those_of_baxter_and_jain() -> None:
    tumor, normal = library().tissue("tumor"), library().tissue("normal tissue")
    assert filtering(tumor)[1] == pytest.approx(1533.2, abs=0.05)
    assert filtering(normal)[1] == pytest.approx(866.6, abs=0.05)
    length = laws.decay_length(number(tumor, "hydraulic_conductivity"), filtering(tumor)[0])
    assert 1e3 / float(length) == pytest.approx(3682.3, abs=0.05)
    ratio = number(tumor, "hydraulic_conductivity") / number(normal, "hydraulic_conductivity")
    assert ratio == pytest.approx(4.84, abs=0.005)


@pytest.mark.parametrize(
    ("name", "rest"),
    [("normal tissue", 0.0), ("lung", 0.0), ("liver", 0.0), ("breast", -0.3), ("adipose", -2.0), ("muscle", -2.0)],
)
def test_lymph_holds_normal_tissue_at_its_stated_pressure(name: str, rest: float) -> None:
    tissue = library().tissue(name)
    lymph, lymphatic_pressure = number(tissue, "lymphatic_conductance"), number(tissue, "lymphatic_pressure")
    plateau = float(laws.plateau_pressure(*filtering(tissue), lymph, lymphatic_pressure))
    assert plateau / MMHG == pytest.approx(rest, abs=2e-3)  # conductances are written with four digits
    assert lymphatic_pressure < plateau


@pytest.mark.parametrize("name", ["brain gray matter", "brain white matter"])
def test_a_healthy_brain_filters_nothing_at_its_resting_pressure(name: str) -> None:
    conductance, effective = filtering(library().tissue(name))
    assert effective == pytest.approx(10.0 * MMHG, abs=1.0)
    assert float(laws.filtration(10.0 * MMHG, conductance, effective)) == 0.0


def test_an_opened_blood_brain_barrier_leaks_at_the_resting_pressure() -> None:
    brain = library().tissue("brain white matter")
    opened = laws.effective_pressure(
        number(brain, "vascular_pressure"),
        0.82,
        number(brain, "plasma_oncotic_pressure"),
        number(brain, "tissue_oncotic_pressure"),
    )
    assert float(opened) > 12.0 * MMHG


def test_tumors_necrosis_and_brain_have_no_lymphatics() -> None:
    without = [tissue for tissue in library().tissues.values() if tissue.group != "normal"]
    assert {number(tissue, "lymphatic_conductance") for tissue in without} == {0.0}


def test_a_necrotic_core_only_conducts() -> None:
    core, tumor = library().tissue("necrotic core"), library().tissue("tumor")
    assert filtering(core)[0] == 0.0
    assert number(core, "hydraulic_conductivity") == number(tumor, "hydraulic_conductivity")


def test_the_glioblastoma_keeps_the_published_set() -> None:
    assert filtering(library().tissue("glioblastoma"))[1] == pytest.approx(2700.0, abs=0.1)


@pytest.mark.parametrize("name", AGENTS)
def test_no_agent_passes_an_intact_blood_brain_barrier_or_enters_necrosis_from_vessels(name: str) -> None:
    agent = library().agent(name)
    assert value(agent.values["brain"]["vascular_permeability"]) == 0.0
    assert value(agent.values["necrosis"]["vascular_permeability"]) == 0.0
    assert value(agent.values["tumor"]["vascular_permeability"]) > 0.0


def test_drained_stiffness_follows_from_the_measured_shear_modulus() -> None:
    for name, shear in (("liver", 1800.0), ("hepatocellular carcinoma", 23400.0), ("glioblastoma", 1320.0)):
        tissue = library().tissue(name)
        expected = 2.0 * shear * (1.0 + number(tissue, "poisson_ratio"))
        assert number(tissue, "youngs_modulus") == pytest.approx(expected, rel=2e-3)  # three digits


def kinetics(name: str) -> tuple[list[float], list[float]]:
    phases = library().agent(name).kinetics
    return [value(amplitude) for amplitude, _ in phases], [value(rate) for _, rate in phases]


def test_the_liposome_has_the_peak_and_the_clearance_of_its_label() -> None:
    amplitudes, rates = kinetics("liposome")
    litre, hour, surface = 1e6, 3600.0, 1.8
    peak = 20.0 * surface * sum(amplitudes) * litre  # mg/L after 20 mg/m²
    clearance = 1.0 / sum(a / k for a, k in zip(amplitudes, rates, strict=True)) / litre * hour / surface
    assert peak == pytest.approx(8.34, rel=2e-3)
    assert clearance == pytest.approx(0.041, rel=5e-3)
    assert np.log(2.0) / np.array(rates) / hour == pytest.approx([5.2, 55.0], rel=1e-3)


def test_the_antibody_has_the_clearance_and_the_volumes_of_its_label() -> None:
    (a, b), (fast, slow) = kinetics("IgG")
    litre, day = 1e6, 86400.0
    area = a / fast + b / slow
    central = 1.0 / ((a + b) * litre)
    steady = (a / fast**2 + b / slow**2) / area**2 / litre
    assert 1.0 / area / litre * day == pytest.approx(0.241, rel=5e-3)
    assert central == pytest.approx(3.02, rel=5e-3)
    assert steady == pytest.approx(3.02 + 2.68, rel=1e-2)


def test_doxorubicin_leaves_plasma_first_within_minutes() -> None:
    _, rates = kinetics("doxorubicin")
    assert float(laws.half_life(rates[0])) / 60.0 == pytest.approx(4.3, abs=0.05)
    assert rates == sorted(rates, reverse=True)


def test_the_nanoparticle_diffuses_as_the_published_fit_says() -> None:
    fit = 1.981e-6 * 90.0**-1.157 + 2.221e-8  # cm²/s at 90 nm
    assert value(library().agent("nanoparticle").values["tumor"]["diffusivity"]) == pytest.approx(100.0 * fit, rel=2e-3)


def test_a_mole_of_nanoparticles_weighs_what_its_spheres_weigh() -> None:
    grams = math.pi / 6.0 * (90e-7) ** 3 * 6.02214076e23
    assert value(library().agent("nanoparticle").molar_mass) * 1e9 == pytest.approx(grams, rel=5e-3)


@pytest.mark.parametrize(
    ("kind", "name", "words"),
    [
        ("tissue", "tumour", ["has no tissue 'tumour'", "Did you mean 'tumor'?", "breast carcinoma"]),
        ("tissue", "IgG", ["not a tissue, but an agent"]),
        ("agent", "doxorubicine", ["has no agent", "Did you mean 'doxorubicin'?"]),
        ("agent", "tumor", ["not an agent, but a tissue"]),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(kind: str, name: str, words: list[str]) -> None:
    find = library().tissue if kind == "tissue" else library().agent
    with pytest.raises(CaseError) as caught:
        find(name)
    assert all(word in str(caught.value) for word in words)


def test_the_library_cannot_be_changed() -> None:
    tissue = library().tissue("tumor")
    with pytest.raises(TypeError):
        tissue.values["porosity"] = tissue.values["porosity"]  # type: ignore[index]
    with pytest.raises(AttributeError):
        tissue.name = "other"  # type: ignore[misc]


def test_a_bibliography_has_each_source_once_and_sorted() -> None:
    text = bibliography(["schmidt2009", "baxter1989", "schmidt2009"])
    assert text.count("@article{") == 2
    assert text.index("baxter1989") < text.index("schmidt2009")
    assert text.endswith("}\n")
    assert bibliography([]) == ""


def test_a_citation_is_one_readable_line() -> None:
    assert citation("baxter1989") == (
        "Baxter and Jain (1989). Transport of fluid and macromolecules in tumors. I. Role of interstitial pressure and "
        "convection. Microvascular Research 37:77-104. doi:10.1016/0026-2862(89)90074-5"
    )
    assert all("\n" not in citation(key) and "{" not in citation(key) for key in references())


def test_an_unknown_source_is_answered_with_the_nearest() -> None:
    with pytest.raises(CaseError, match=r"no entry 'baxter1998'\. Did you mean 'baxter1989'\?"):
        citation("baxter1998")


def shown(name: str | None, width: int = 100) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width).print(render_library(name))
    return stream.getvalue()


def test_the_overview_names_everything() -> None:
    text = shown(None)
    assert all(name in text for name in (*TISSUES, *AGENTS))


@pytest.mark.parametrize("name", [*TISSUES, *AGENTS])
def test_a_page_fits_a_hundred_columns_and_shows_every_value_with_its_source(name: str) -> None:
    text = shown(name)
    whole = library()
    listed = list(whole.tissues[name].values.values()) if name in whole.tissues else of_agent(whole.agents[name])
    lines = text.splitlines()
    assert max(len(line) for line in lines) <= 100
    header = next(number for number, line in enumerate(lines) if line.startswith("parameter"))
    rows = [line for line in lines[header:] if line.startswith(tuple({entry.parameter for entry in listed}))]
    assert len(rows) == len(listed)
    for row, entry in zip(rows, listed, strict=True):
        assert row.startswith(entry.parameter)
        assert str(entry.quantity) in row
        assert entry.source in row


@pytest.mark.parametrize("name", [*TISSUES, *AGENTS])
def test_a_page_cuts_nothing_off_in_eighty_columns(name: str) -> None:
    whole = library()
    listed = list(whole.tissues[name].values.values()) if name in whole.tissues else of_agent(whole.agents[name])
    words = [word for entry in listed for word in (*str(entry.quantity).split(), entry.source)]
    text = shown(name, width=80)
    assert [word for word in words if word not in text] == []


def test_an_unknown_page_is_answered_with_the_nearest() -> None:
    with pytest.raises(CaseError, match="Did you mean 'doxorubicin'"):
        render_library("doxorubicn")


def test_importing_the_materials_loads_neither_pint_nor_rich() -> None:
    program = "import sys, turgor.materials; print(sorted({'pint', 'rich'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
