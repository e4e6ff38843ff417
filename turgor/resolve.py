"""Every value in force: the case over the agent over the tissue over the default, each with its source."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from turgor.fem.physics.drug.spec import DOSES, DrugSpec
from turgor.fem.spec import MeasureSpec, OutputSpec, PatientSpec, PhysicsSpec, TimeSpec
from turgor.materials.errors import CaseError, nearest
from turgor.materials.library import Agent, Entry, Tissue, library
from turgor.materials.parameters import PARAMETERS, Parameter
from turgor.materials.plausible import Usual, expected, usual
from turgor.materials.quantity import Quantity
from turgor.materials.spec import Material
from turgor.materials.values import ImageMap, Table, Value

if TYPE_CHECKING:
    from turgor.case import Case
    from turgor.meshing.spec import MeshSpec


@dataclass(frozen=True, slots=True)
class Given:
    """A value in force, and where it comes from.

    Attributes:
        parameter: Name of the parameter.
        value: Number, table, map or word.
        text: As printed in its source or written in the case.
        source: Key of the bibliography, "case", "assumed" or "default".
        reason: Why an assumed value is what it is, or where a cited one was read.
        base: For a relative map, the number that it scales, in the internal unit.
        usual: For an absolute map, between which values its mean over the region is expected.
    """

    parameter: str
    value: Value | str
    text: str
    source: str
    reason: str = ""
    base: float | None = None
    usual: Usual | None = None

    def number(self) -> float:
        """Return the number in the internal unit; the base of a relative map; the first value of a table."""
        if isinstance(self.value, Quantity):
            return self.value.value
        if isinstance(self.value, ImageMap):
            return float("nan") if self.base is None else self.base
        if isinstance(self.value, str):
            raise TypeError(f"{self.parameter} is a word, not a number")
        return self.value.values[0]


Region = Mapping[str, Given]


def of_entry(entry: Entry) -> Given:
    """Return a value of the library as a value in force."""
    return Given(entry.parameter, entry.quantity, str(entry.quantity), entry.source, entry.reason)


def tissue_of(material: Material) -> Tissue | None:
    """Return the library's tissue that a material is like."""
    return library().tissue(material.like) if material.like else None


def group_of(name: str, material: Material) -> str:
    """Return the tissue group of a region: "tumor", "normal", "brain" or "necrosis"."""
    tissue = tissue_of(material)
    if tissue is not None:
        return tissue.group
    return "tumor" if any(word in name.lower() for word in ("tumor", "tumour", "lesion", "metastasis")) else "normal"


def in_force(region: str, material: Material, parameter: Parameter, agent: Agent | None) -> Given | None:
    """Return the value of a parameter in a region; None when nobody gives one."""
    tissue = tissue_of(material)
    entry = tissue.values.get(parameter.name) if tissue is not None else None
    if agent is not None:
        entry = agent.values.get(group_of(region, material), {}).get(parameter.name, entry)
    fallback = of_entry(entry) if entry is not None else None
    if fallback is None and parameter.default is not None:
        number = Quantity(f"{parameter.default:g} {parameter.unit}".strip(), parameter.default, parameter.unit)
        fallback = Given(parameter.name, number, str(number), "default")
    if fallback is None and parameter.choices:
        fallback = Given(parameter.name, parameter.choices[0], parameter.choices[0], "default")
    value = material.given().get(parameter.name)
    if value is None:
        return fallback
    if not isinstance(value, ImageMap):
        return Given(parameter.name, value, str(value), "case")
    if value.relative:
        base = value.mean.value if value.mean else (fallback.number() if fallback else None)
        return Given(parameter.name, value, str(value), "case", base=base)
    known = expected(value.mean) if value.mean else usual(parameter.name, entry)
    return Given(parameter.name, value, str(value), "case", usual=known)


def agent_of(physics: Mapping[str, PhysicsSpec]) -> Agent | None:
    """Return the agent of the case's drug."""
    drug = physics.get("drug")
    return library().agent(drug.agent) if isinstance(drug, DrugSpec) and drug.agent else None


def known_parameters(spec: PhysicsSpec) -> Mapping[str, Parameter]:
    """Return the parameters that a physics needs, by name; its own come with it."""
    own = {p.name: p for p in getattr(spec, "own_parameters", ())}
    return {name: own.get(name) or PARAMETERS[name] for name in spec.parameters}


def resolve(case: Case, regions: Iterable[str]) -> Mapping[str, Region]:
    """Return every value in force, region by region; the case has been checked before."""
    agent = agent_of(case.physics)
    found: dict[str, dict[str, Given]] = {}
    for region in regions:
        material = case.materials.get(region)
        if material is None:
            raise CaseError(f"materials: the region {region!r} has no material.{nearest(region, case.materials)}")
        values: dict[str, Given] = {}
        for spec in case.physics.values():
            for name, parameter in known_parameters(spec).items():
                given = in_force(region, material, parameter, agent if spec.key == "drug" else None)
                if given is not None:
                    values[name] = given
        found[region] = values
    return found


def rim_lengths(case: Case) -> Mapping[str, float]:
    """Return the length [mm] over which the pressure falls at the rim of each tumor with leaky vessels.

    It is 1/α = sqrt(K/(Lp S/V)) (Baxter and Jain 1989), the shortest of the tumor's and of all tissues beside it. Where
    no region counts as tumor, every leaky region does.
    """
    lengths: dict[str, float] = {}
    for region, material in case.materials.items():
        names = ("hydraulic_conductivity", "vessel_conductivity", "vessel_surface_density")
        given = [in_force(region, material, PARAMETERS[name], None) for name in names]
        if all(value is not None for value in given):
            conductivity, wall, surface = (value.number() for value in given if value is not None)
            if conductivity > 0 and wall * surface > 0:
                lengths[region] = float((conductivity / (wall * surface)) ** 0.5)
    leaky = [name for name in tumors(case) if name in lengths] or list(lengths)
    return {name: min(lengths.values()) for name in leaky}


def tumors(case: Case) -> tuple[str, ...]:
    """Return the regions that count as tumor."""
    return tuple(name for name, material in case.materials.items() if group_of(name, material) == "tumor")


def complaints(
    mesh: MeshSpec | None,
    materials: Mapping[str, Material],
    physics: Mapping[str, PhysicsSpec],
    time: TimeSpec | None,
    output: OutputSpec | None,
    patient: PatientSpec | None,
    named: tuple[str, ...],
) -> Iterator[str]:
    """Yield what is wrong across sections.

    Args:
        mesh: None when the section itself is wrong; so for the others.
        materials: Valid materials only.
        physics: Valid physics only.
        time: When the run ends.
        output: What it reports.
        patient: Whom the dose is for.
        named: All regions that [materials] names, valid or not.
    """
    regions = mesh.regions() if mesh is not None else None
    if regions is not None and physics:
        yield from _named_twice(regions, named)
    yield from _names(materials, physics)
    yield from _missing(materials, physics, regions)
    provided = {field for spec in physics.values() for field in spec.provides}
    yield from _joined(physics, provided)
    drug = physics.get("drug")
    if isinstance(drug, DrugSpec):
        yield from _drug(drug, time, patient)
    if regions is not None and mesh is not None:
        yield from _surfaces(physics, output, regions, mesh.cavities)
    for key, measure in (output.measures if output else {}).items():
        yield from _measure(f"output.measures.{key}", measure, provided, regions)


def _named_twice(regions: tuple[str, ...], named: tuple[str, ...]) -> Iterator[str]:
    """Yield the regions that stand only in [mesh] or only in [materials]."""
    for region in regions:
        if region not in named:
            hint = nearest(region, named)
            yield f"materials.{region}: the region has no material; add [materials.{region}].{hint}"
    for region in named:
        if region not in regions:
            yield f"materials.{region}: the mesh has no such region.{nearest(region, regions)}"


def _joined(physics: Mapping[str, PhysicsSpec], provided: set[str]) -> Iterator[str]:
    """Yield what the physics lack of each other."""
    for spec in physics.values():
        for field in spec.takes:
            if field not in provided:
                yield f"physics.{spec.key}: takes {field}, which no physics of the case provides; add [physics.flow]"
        for i, source in enumerate(getattr(spec, "sources", ())):
            if spec.key == "drug" and source.amount() < 0:
                yield f"physics.drug.sources.{i}.rate: must not be negative; let decay_rate or a surface take drug away"
        if spec.in_ is not None:
            yield f"physics.{spec.key}.in: solving in some regions only is not in this version of turgor; leave it out"


def _names(materials: Mapping[str, Material], physics: Mapping[str, PhysicsSpec]) -> Iterator[str]:
    for region, material in materials.items():
        try:
            tissue_of(material)
        except CaseError as error:
            yield f"materials.{region}.like: {error}"
    try:
        agent_of(physics)
    except CaseError as error:
        yield f"physics.drug.agent: {error}"


def _missing(
    materials: Mapping[str, Material], physics: Mapping[str, PhysicsSpec], regions: tuple[str, ...] | None
) -> Iterator[str]:
    for spec in physics.values():
        for region, material in materials.items():
            if (regions and region not in regions) or (spec.in_ and region not in spec.in_):
                continue
            for name, parameter in known_parameters(spec).items():
                try:
                    given = in_force(region, material, parameter, agent_of(physics) if spec.key == "drug" else None)
                except CaseError:
                    break
                where = f"materials.{region}.{name}"
                if given is None:
                    yield f'{where}: is missing and [physics.{spec.key}] needs it; give it, or say like = "..."'
                elif name == "available_volume_fraction" and isinstance(given.value, Table):
                    yield f"{where}: cannot change in time, for the drug that it holds would not be kept account of"
                elif isinstance(given.value, ImageMap) and given.value.relative and given.base is None:
                    yield f'{where}: a relative map needs the region\'s value; add mean = "..." beside the image'


def _drug(drug: DrugSpec, time: TimeSpec | None, patient: PatientSpec | None) -> Iterator[str]:
    if time is None:
        yield 'time: a drug needs a time; add [time] with end = "24 h" and tolerance = 1e-3'
    plasma = drug.plasma
    if plasma is None:
        return
    if not drug.agent and (plasma.dose or plasma.fraction == "total"):
        yield "physics.drug.agent: is missing; a dose or a total concentration needs one, for its kinetics and binding"
    if plasma.dose is not None:
        needed = DOSES[plasma.dose.unit]
        if needed and (patient is None or getattr(patient, needed) is None):
            example = "1.8 m^2" if needed == "body_surface" else "75 kg"
            yield f'patient.{needed}: is missing and the dose {plasma.dose.text!r} needs it; add {needed} = "{example}"'
    if plasma.of == "blood" and (patient is None or patient.hematocrit is None):
        yield "patient.hematocrit: is missing and a curve of blood needs it; add hematocrit = 0.42"
    if plasma.dose is not None and drug.agent and patient is not None:
        try:
            species = library().agent(drug.agent).species
        except CaseError:
            return
        if species and species != patient.species:
            yield f"patient.species: is {patient.species!r}, but the plasma kinetics of {drug.agent} are of {species!r}"


def surface_known(pattern: str, regions: tuple[str, ...], cavities: tuple[str, ...]) -> bool:
    """Tell whether a pattern such as "*|outside" can name a surface of these regions."""
    first, bar, second = pattern.partition("|")
    if not bar:
        return False
    sides = (*regions, *cavities, "outside", "cut")
    return all(fnmatch.filter(sides, side) for side in (first, second))


def _surfaces(
    physics: Mapping[str, PhysicsSpec], output: OutputSpec | None, regions: tuple[str, ...], cavities: tuple[str, ...]
) -> Iterator[str]:
    asked = [
        (f"physics.{spec.key}.conditions.{i}.on", name)
        for spec in physics.values()
        for i, condition in enumerate(spec.conditions)
        for name in condition.on
    ]
    measures = output.measures if output else {}
    asked += [(f"output.measures.{key}.through", m.through) for key, m in measures.items() if m.through]
    examples = [f"{a}|outside" for a in regions] + [
        f"{a}|{b}" for a in regions for b in (*regions, *cavities) if a != b
    ]
    for where, name in asked:
        if not surface_known(name, regions, cavities):
            sides = ", ".join((*regions, *cavities, "outside", "cut"))
            yield f'{where}: no surface can be named {name!r}; expected "a|b" of {sides}.{nearest(name, examples)}'
    for spec in physics.values():
        for region in spec.in_ or ():
            if region not in regions:
                yield f"physics.{spec.key}.in: the mesh has no region {region!r}.{nearest(region, regions)}"


def _measure(where: str, measure: MeasureSpec, provided: set[str], regions: tuple[str, ...] | None) -> Iterator[str]:
    known = provided | ({"drug", "concentration.total"} if "concentration" in provided else set())
    name = measure.of
    base = name.rpartition(".")[0] if name.rpartition(".")[2] in ("x", "y", "z") else name
    if base not in known:
        has = ", ".join(sorted(known))
        yield f"{where}.of: no physics of the case gives {name!r}; it has {has}.{nearest(name, known)}"
    if measure.through is not None and base not in ("velocity", "drug"):
        yield f'{where}.through: of = "velocity" (volume) or "drug" (amount) flows through a surface, not {name!r}'
    if measure.in_ is not None and regions is not None and measure.in_ not in regions:
        yield f"{where}.in: the mesh has no region {measure.in_!r}.{nearest(measure.in_, regions)}"
    if measure.over is not None and not base.startswith("concentration"):
        yield f"{where}.over: {measure.over} is kept of concentration, not of {name!r}"
    if measure.as_ == "amount" and not base.startswith("concentration"):
        yield f'{where}.as: "amount" is of concentration, not of {name!r}'
