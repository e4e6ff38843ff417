"""The study in words: methods, parameters, conditions and checks as a reader of the report meets them."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from turgor.postprocess.manifest import Condition, Value
from turgor.postprocess.run import Run
from turgor.postprocess.scales import and_list, clock, counted, number, pretty_powers, pretty_unit

RIM_LIMIT = 1.0 / 3.0
"""Largest cell size times alpha at which the pressure layer at the rim counts as resolved."""


@dataclass(frozen=True)
class Source:
    """Where a value comes from.

    Attributes:
        kind: "cited", "assumed", "case" or "default".
        text: What the reader sees, for example "[2]".
        anchor: Name of the reference on the page; empty if it is not a citation.
        reason: Why an assumed value is what it is.
    """

    kind: str
    text: str
    anchor: str = ""
    reason: str = ""


@dataclass(frozen=True)
class ParameterRow:
    """A parameter in the regions that share its value."""

    label: str
    symbol: str
    regions: str
    printed: str
    internal: str
    source: Source
    first: bool


def numbered(references: Mapping[str, str]) -> dict[str, int]:
    """Return key -> number of each reference, in the order of the run."""
    return {key: i for i, key in enumerate(references, start=1)}


def source_of(value: Value, numbers: Mapping[str, int]) -> Source:
    """Return where a value comes from, with the number of its reference."""
    if value.source in ("assumed", "case", "default"):
        text = {"assumed": "assumed", "case": "case file", "default": "default"}[value.source]
        return Source(value.source, text, reason=value.reason)
    if value.source in numbers:
        return Source("cited", f"[{numbers[value.source]}]", f"ref-{numbers[value.source]}", value.reason)
    return Source("cited", value.source or "–", reason=value.reason)


def parameter_rows(run: Run) -> list[ParameterRow]:
    """Return every parameter in force; regions with the same value and source stand together."""
    numbers = numbered(run.references)
    regions = run.resolved.regions
    names = dict.fromkeys(name for values in regions.values() for name in values)
    rows: list[ParameterRow] = []
    for name in names:
        groups: dict[tuple[str, str, str], list[str]] = {}
        for region, values in regions.items():
            if name in values:
                value = values[name]
                groups.setdefault((value.value, value.source, value.reason), []).append(region)
        for i, ((_, _, _), members) in enumerate(groups.items()):
            value = regions[members[0]][name]
            everywhere = len(members) == len(regions) and len(regions) > 1
            rows.append(
                ParameterRow(
                    (value.label or name.replace("_", " ")) if i == 0 else "",
                    value.symbol if i == 0 else "",
                    "all regions" if everywhere else ", ".join(members),
                    printed(value.value),
                    internal(value),
                    source_of(value, numbers),
                    i == 0,
                )
            )
    return rows


def printed(text: str) -> str:
    """Return a quantity with a readable unit, its number as it was printed."""
    head, space, unit = text.partition(" ")
    return f"{head}{space}{pretty_unit(unit)}" if re.match(r"[-+.\d]", head) else text


def internal(value: Value) -> str:
    """Return the number in internal units."""
    if isinstance(value.number, int | float):
        return f"{number(float(value.number), 4)} {pretty_unit(value.unit)}".strip()
    return ""


def agent_rows(run: Run) -> list[tuple[str, str, Source]]:
    """Return the agent's words and values: name, text, source."""
    return list(_rows_of(run.resolved.agent or {}, "", numbered(run.references)))


def _rows_of(
    entries: Mapping[str, JsonValue], before: str, numbers: Mapping[str, int]
) -> Iterator[tuple[str, str, Source]]:
    for name, entry in entries.items():
        label = f"{before}{name.replace('_', ' ')}"
        if isinstance(entry, dict) and "value" in entry:
            value = Value.model_validate(entry)
            yield value.label or label, printed(value.value), source_of(value, numbers)
        elif isinstance(entry, list):
            for i, item in enumerate(entry, start=1):
                if isinstance(item, dict):
                    yield from _rows_of(item, f"{label}, term {i}: ", numbers)
        elif _plain(entry) and not (name == "name" and "title" in entries):
            yield label, str(entry), Source("case", "")


def plasma_words(run: Run) -> str:
    """Return how the drug is given."""
    plasma = run.resolved.plasma or {}
    if isinstance(plasma.get("words"), str):
        return pretty_powers(str(plasma["words"]))
    return ", ".join(f"{key.replace('_', ' ')} {printed(str(value))}" for key, value in plasma.items() if _plain(value))


def _plain(value: JsonValue) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool) and str(value) != ""


def methods(run: Run) -> list[str]:
    """Return the methods as paragraphs of plain text, ready for a manuscript."""
    return [text for text in (_mesh_words(run), *_physics_words(run), _time_words(run), _software_words(run)) if text]


def _mesh_words(run: Run) -> str:
    mesh, regions = run.manifest.mesh, run.regions
    text = f"The anatomy was meshed with {counted(mesh.cells)} tetrahedra ({counted(mesh.points)} nodes) in "
    text += "one region, " if len(regions) == 1 else f"{len(regions)} regions: "
    text += f"{and_list(list(regions))}."
    if run.tumor:
        plural = len(run.tumor) > 1
        text += f" {and_list(list(run.tumor)).capitalize()} count{'' if plural else 's'} as tumor."
    sizes = _path(run.resolved.case, "mesh", "size")
    if isinstance(sizes, dict) and sizes:
        edges = [f"{size} in {region}" for region, size in sizes.items()]
        text += f" Target edge lengths were {and_list(edges)}, graded in between."
    sides = [f"{name}: {words}" for name, words in run.manifest.side.items() if name in run.tumor]
    return text + (f" Position of the {'; of the '.join(sides)}." if sides else "")


def _path(tree: JsonValue | Mapping[str, JsonValue], *keys: str) -> JsonValue:
    for key in keys:
        tree = tree.get(key) if isinstance(tree, Mapping) else None
    return tree if not isinstance(tree, Mapping) else dict(tree)


def _physics_words(run: Run) -> list[str]:
    texts = []
    for physics in run.manifest.physics:
        solver = run.manifest.solvers.get(physics.name)
        subject = {"flow": "Interstitial flow", "drug": "Drug transport"}.get(physics.name, physics.name.capitalize())
        text = f"{subject} was computed with {counted(physics.unknowns)} unknowns"
        text += f" (linear solver: {solver.method})." if solver and solver.method else "."
        if physics.name == "drug" and run.resolved.agent:
            agent = run.resolved.agent.get("title") or run.resolved.agent.get("name") or "the agent"
            text += f" The drug is {agent}."
            given = plasma_words(run)
            text += f" It was given as: {given}." if given else ""
        texts.append(text)
    return texts


def _time_words(run: Run) -> str:
    times = run.times
    if len(times) < 2:
        return "The solution is steady."
    steps = len(run.quantities) or len(run.balance.distinct("t [s]"))
    text = f"The simulated time is {clock(times[-1])}"
    tolerance, step = _path(run.resolved.case, "time", "tolerance"), _path(run.resolved.case, "time", "step")
    if step:
        text += f" in steps of {step}"
    elif tolerance:
        text += f", in adaptive steps with a local error tolerance of {number(float(str(tolerance)))}"
    text += f" ({counted(max(steps - 1, 1))} steps)" if steps > 1 else ""
    return f"{text}; fields were stored at {len(times)} times."


def _software_words(run: Run) -> str:
    versions = run.manifest.versions
    solver = next((f"{name} {versions[name]}" for name in ("fenics-dolfinx", "dolfinx") if name in versions), "")
    text = f"Computed with turgor {run.manifest.version}" + (f" on {solver}" if solver else "")
    text += f", {run.manifest.ranks} process{'es' if run.manifest.ranks != 1 else ''}"
    seconds = run.manifest.wall_seconds
    return f"{text}, in {clock(seconds)}." if seconds else f"{text}."


@dataclass(frozen=True)
class Block:
    """A paragraph of a physics' own description, or equations with their line breaks."""

    formula: bool
    text: str


def equations(run: Run) -> list[tuple[str, list[Block]]]:
    """Return name and description of each physics, cut into paragraphs and equations (the indented lines)."""
    return [(p.name, _blocks(p.equations)) for p in run.manifest.physics if p.equations.strip()]


def _blocks(text: str) -> list[Block]:
    blocks = []
    indented = any(line[:4].isspace() for line in text.splitlines() if line.strip())
    for piece in re.split(r"\n\s*\n", text.strip("\n")):
        formula = not indented or piece[:4].isspace()
        blocks.append(Block(formula, textwrap.dedent(piece) if formula else " ".join(piece.split())))
    return blocks


def warnings(run: Run) -> list[str]:
    """Return everything a reader must know before believing a picture, the run's own words first."""
    found = [pretty_powers(sentence) for sentence in run.manifest.warnings]
    for surface, product in run.manifest.verification.h_alpha.items():
        said = any("pressure layer" in sentence and surface in sentence for sentence in found)
        if product > RIM_LIMIT and not said:
            found.append(
                f"The pressure layer at {surface} is not resolved: cell size times α is {number(product)}, and should "
                "be at most 1/3. Pressure gradients and fluxes there are too low; choose smaller cells in the tumor."
            )
    return found


def surface_rows(run: Run) -> list[dict[str, str]]:
    """Return every outer surface and every interface with a condition: name, kind, area, and what holds by physics."""
    found: dict[str, dict[str, str]] = {}
    for condition in run.resolved.conditions:
        row = found.setdefault(condition.surface, _surface_row(condition))
        row[condition.physics] = condition.condition
    for surface in run.manifest.surfaces:
        if surface.name not in found and surface.kind != "interface":
            found[surface.name] = {"surface": surface.name, "kind": surface.kind, "area": _area(surface.area)}
    return list(found.values())


def _surface_row(condition: Condition) -> dict[str, str]:
    return {"surface": condition.surface, "kind": condition.kind, "area": _area(condition.area)}


def _area(square_millimeters: float) -> str:
    return f"{number(square_millimeters / 100, 4)} cm²" if square_millimeters else "–"


def columns_of_conditions(run: Run) -> list[str]:
    """Return the physics that have conditions, in order."""
    return list(dict.fromkeys(condition.physics for condition in run.resolved.conditions))
