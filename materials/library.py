"""The library: tissues and agents with a source for every number.

The numbers live in `tissues.toml` and `agents.toml` beside this file, as printed in their sources, and the sources in
`references.bib`. A value that nobody measured says so: its source is "assumed", and its reason says what it rests on.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Literal, cast

from turgor.materials.errors import CaseError, nearest
from turgor.materials.parameters import PARAMETERS, Parameter
from turgor.materials.quantity import Quantity

ASSUMED = "assumed"
GROUPS = ("tumor", "normal", "brain", "necrosis")

Group = Literal["tumor", "normal", "brain", "necrosis"]
Confidence = Literal["cited", "assumed"]
Raw = Mapping[str, str]
"""A value as it stands in the file: value, source, and perhaps low, high and reason."""

AGENT_PARAMETERS: Mapping[str, Parameter] = MappingProxyType(
    {
        "molar_mass": Parameter("molar_mass", "g/nmol", "M", "molar mass", low=0.0),
        "unbound_fraction": Parameter("unbound_fraction", "", "fu", "fraction in plasma that is not bound", 0.0, 1.0),
        "amplitude": Parameter("amplitude", "1/mm^3", "A", "plasma concentration per dose", low=0.0),
        "rate": Parameter("rate", "1/s", "k", "rate of this phase in plasma", low=0.0),
    }
)
"""What an agent carries beside the parameters that it has in each group of tissues."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One value of the library, with where it comes from.

    Attributes:
        parameter: Name of the parameter.
        quantity: The number, whose text is as printed in its source; or a word, for a parameter with choices.
        source: Key in `references.bib`, or "assumed".
        confidence: "cited" when it has a source, else "assumed".
        reason: What an assumed value rests on; for a cited one, where it was read and what its range means.
        low: Lower end of the range in which the truth is believed to lie, where known.
        high: Upper end of that range.
    """

    parameter: str
    quantity: Quantity | str
    source: str
    confidence: Confidence
    reason: str = ""
    low: Quantity | None = None
    high: Quantity | None = None

    def assumed(self, because: str) -> Entry:
        """Return the same value as an assumption, for a tissue that it was not measured in."""
        return replace(self, source=ASSUMED, confidence="assumed", reason=because)


@dataclass(frozen=True, slots=True)
class Tissue:
    """A tissue: everything that flow needs, and porosity and stiffness.

    Attributes:
        name: As in a case file after `like`.
        title: Words for tables.
        group: Which values of an agent hold in it.
        values: Entries by parameter.
        note: What to know before using it.
    """

    name: str
    title: str
    group: Group
    values: Mapping[str, Entry]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Agent:
    """A drug, contrast agent or carrier.

    Attributes:
        name: As in a case file after `agent`.
        title: Words for tables.
        molar_mass: Mass per amount [g/nmol].
        unbound_fraction: Fraction in plasma that is not bound and can leave the vessels.
        values: Entries by group of tissue and parameter.
        kinetics: Phases of the plasma curve after a bolus, as pairs (amplitude [1/mm³], rate [1/s]): total
            concentration in plasma = dose · Σ amplitude · exp(-rate t).
        species: Whose plasma that is.
        note: What to know before using it.
    """

    name: str
    title: str
    molar_mass: Entry
    unbound_fraction: Entry
    values: Mapping[str, Mapping[str, Entry]]
    kinetics: tuple[tuple[Entry, Entry], ...]
    species: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Library:
    """All tissues and agents, by name."""

    tissues: Mapping[str, Tissue]
    agents: Mapping[str, Agent]

    def tissue(self, name: str) -> Tissue:
        """Return a tissue.

        Raises:
            CaseError: There is none of this name; the message lists what there is.
        """
        if name not in self.tissues:
            raise CaseError(_unknown("a tissue", name, self.tissues, self.agents))
        return self.tissues[name]

    def agent(self, name: str) -> Agent:
        """Return an agent.

        Raises:
            CaseError: There is none of this name; the message lists what there is.
        """
        if name not in self.agents:
            raise CaseError(_unknown("an agent", name, self.agents, self.tissues))
        return self.agents[name]


@cache
def library() -> Library:
    """Return the library, read once."""
    raw = _read("tissues.toml")
    return Library(
        tissues=MappingProxyType({name: _tissue(name, raw) for name in raw}),
        agents=MappingProxyType({name: _agent(name, table) for name, table in _read("agents.toml").items()}),
    )


def _unknown(kind: str, name: str, known: Mapping[str, object], other: Mapping[str, object]) -> str:
    """Return the sentence for a name that the library does not have as this kind."""
    if name in other:
        return f"{name!r} in the library is not {kind}, but {'an agent' if kind == 'a tissue' else 'a tissue'}"
    return f"the library has no {kind.split()[1]} {name!r}; it has {', '.join(known)}.{nearest(name, known)}"


def _read(name: str) -> dict[str, Mapping[str, object]]:
    """Return the tables of a file that ships with the package."""
    return tomllib.loads(Path(__file__).with_name(name).read_text(encoding="utf-8"))


def entry(parameter: Parameter, raw: Raw) -> Entry:
    """Return the entry of a parameter.

    Raises:
        ValueError: The value, or an end of its range, cannot be read in the parameter's unit.
    """
    source = raw["source"]
    read = {key: Quantity.parse(raw[key], parameter.unit) for key in ("low", "high") if key in raw}
    return Entry(
        parameter=parameter.name,
        quantity=raw["value"] if parameter.choices else Quantity.parse(raw["value"], parameter.unit),
        source=source,
        confidence="assumed" if source == ASSUMED else "cited",
        reason=raw.get("reason", ""),
        low=read.get("low"),
        high=read.get("high"),
    )


def _entries(table: Mapping[str, object]) -> dict[str, Entry]:
    """Return the entries of the parameters that a table gives."""
    return {name: entry(PARAMETERS[name], cast("Raw", table[name])) for name in table if name in PARAMETERS}


def _tissue(name: str, tables: Mapping[str, Mapping[str, object]]) -> Tissue:
    """Return one tissue; what its table does not give comes from the one that it is like."""
    table = tables[name]
    base = _tissue(str(table["like"]), tables).values if "like" in table else {}
    if "because" in table:
        base = {key: value.assumed(str(table["because"])) for key, value in base.items()}
    found = {**base, **_entries(table)}
    values = {key: found[key] for key in PARAMETERS if key in found}
    group = cast("Group", table["group"])
    return Tissue(name, str(table["title"]), group, MappingProxyType(values), str(table.get("note", "")))


def _agent(name: str, table: Mapping[str, object]) -> Agent:
    """Return one agent."""
    phases = cast("list[Mapping[str, Raw]]", table["kinetics"])
    values = {group: MappingProxyType(_entries(cast("Mapping[str, object]", table[group]))) for group in GROUPS}
    return Agent(
        name=name,
        title=str(table["title"]),
        molar_mass=entry(AGENT_PARAMETERS["molar_mass"], cast("Raw", table["molar_mass"])),
        unbound_fraction=entry(AGENT_PARAMETERS["unbound_fraction"], cast("Raw", table["unbound_fraction"])),
        values=MappingProxyType(values),
        kinetics=tuple(
            (entry(AGENT_PARAMETERS["amplitude"], phase["amplitude"]), entry(AGENT_PARAMETERS["rate"], phase["rate"]))
            for phase in phases
        ),
        species=str(table["species"]),
        note=str(table.get("note", "")),
    )
