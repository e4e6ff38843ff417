"""The library as tables for people: every value with its source, its range and the reason for it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from turgor.materials import laws
from turgor.materials.errors import CaseError, nearest
from turgor.materials.library import AGENT_PARAMETERS, Agent, Entry, Library, Tissue, library
from turgor.materials.parameters import PARAMETERS
from turgor.materials.quantity import Quantity, factor
from turgor.materials.references import citation

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

Notes = dict[str, int]
"""Reasons in order of appearance, with their numbers."""


def render_library(name: str | None = None) -> RenderableType:
    """Return what `turgor library` prints: all tissues and agents, or one of them with every value.

    Args:
        name: A tissue or an agent; None for the overview.

    Raises:
        CaseError: The library has neither.
    """
    whole = library()
    if name is None:
        return _overview(whole)
    if name in whole.tissues:
        return _tissue(whole.tissues[name])
    if name in whole.agents:
        return _agent(whole.agents[name])
    known = (*whole.tissues, *whole.agents)
    raise CaseError(f"the library has no {name!r}; it has {', '.join(known)}.{nearest(name, known)}")


def _overview(whole: Library) -> RenderableType:
    """Return the two tables of what there is."""
    from rich.console import Group
    from rich.text import Text

    legend = Text.assemble(
        ("K", "bold"),
        " hydraulic conductivity · ",
        ("rests at", "bold"),
        " pressure far from every boundary, where vessels give what lymphatics take (—: exchanges no fluid) · ",
        ("1/α", "bold"),
        " distance over which it gets there · ",
        ("cited", "bold"),
        " values that have a source; the others are assumed",
        style="dim",
    )
    hint = Text.assemble(("turgor library NAME", "bold"), " shows every value with its source, its range and why.")
    return Group(_tissues(whole), "", legend, "", _agents(whole), "", hint)


def _tissues(whole: Library) -> Table:
    """Return one line for each tissue."""
    table = _table("Tissues")
    table.add_column("name", style="bold", no_wrap=True)
    table.add_column("agents use", no_wrap=True)
    table.add_column("K\nmm²/(Pa s)", justify="right", no_wrap=True)
    table.add_column("rests at\nmmHg", justify="right", no_wrap=True)
    table.add_column("1/α\nmm", justify="right", no_wrap=True)
    table.add_column("cited", justify="right", no_wrap=True)
    for tissue in whole.tissues.values():
        conductivity = _number(tissue, "hydraulic_conductivity")
        rest, length = _rest(tissue)
        cited = _cited(tissue.values.values())
        table.add_row(tissue.name, tissue.group, _figure(conductivity, 3), rest, length, cited)
    return table


def _agents(whole: Library) -> Table:
    """Return one line for each agent."""
    table = _table("Agents")
    table.add_column("name", style="bold", no_wrap=True)
    table.add_column("what it is")
    table.add_column("molar mass", justify="right", no_wrap=True)
    table.add_column("half-lives in plasma", justify="right", no_wrap=True)
    table.add_column("cited", justify="right", no_wrap=True)
    for agent in whole.agents.values():
        lives = ", ".join(_half_life(rate) for _, rate in agent.kinetics)
        table.add_row(agent.name, agent.title, str(agent.molar_mass.quantity), lives, _cited(_all(agent)))
    return table


def _tissue(tissue: Tissue) -> RenderableType:
    """Return one tissue with every value."""
    notes: Notes = {}
    table = _values()
    for entry in tissue.values.values():
        _add(table, entry, notes)
    return _page(tissue.name, tissue.title, tissue.note, table, notes, tissue.values.values())


def _agent(agent: Agent) -> RenderableType:
    """Return one agent with every value, in plasma and in each group of tissues."""
    notes: Notes = {}
    table = _values()
    _section(table, f"in plasma ({agent.species})")
    _add(table, agent.molar_mass, notes)
    _add(table, agent.unbound_fraction, notes)
    for number, (amplitude, rate) in enumerate(agent.kinetics, start=1):
        _add(table, amplitude, notes, f" {number}")
        _add(table, rate, notes, f" {number}", f"half-life {_half_life(rate)}")
    for group, values in agent.values.items():
        _section(table, f"in {group} tissue" if group != "necrosis" else "in necrosis")
        for entry in values.values():
            _add(table, entry, notes)
    return _page(agent.name, agent.title, agent.note, table, notes, _all(agent))


def _page(name: str, title: str, note: str, table: Table, notes: Notes, entries: Iterable[Entry]) -> RenderableType:
    """Return heading, note, values, the reasons by number, and the sources."""
    from rich.console import Group
    from rich.text import Text

    heading = Text.assemble((name, "bold cyan"), "  ", (title if title != name else "", "bold"))
    sources = sorted({entry.source for entry in entries if entry.confidence == "cited"})
    reasons = _list((str(number), reason) for reason, number in notes.items())
    papers = _list((key, citation(key)) for key in sources)
    parts: list[RenderableType] = [heading, Text(note, "italic"), "", table]
    parts += ["", Text("Notes", "bold cyan"), reasons] if notes else []
    parts += ["", Text("Sources", "bold cyan"), papers] if sources else []
    return Group(*parts)


def _add(table: Table, entry: Entry, notes: Notes, suffix: str = "", remark: str = "") -> None:
    """Add the row of one value, with its range below it."""
    from rich.text import Text

    parameter = PARAMETERS.get(entry.parameter) or AGENT_PARAMETERS[entry.parameter]
    mark = f" {notes.setdefault(entry.reason, len(notes) + 1)}" if entry.reason else ""
    source = Text.assemble((entry.source, "yellow" if entry.confidence == "assumed" else "green"), (mark, "dim"))
    value = Text(_internal(entry))
    for line in (_range(entry), remark):
        if line:
            value.append(f"\n{line}", "dim")
    symbol = f"{parameter.symbol}{suffix.strip()}" if suffix else parameter.symbol
    table.add_row(f"{entry.parameter}{suffix}", symbol, Text(str(entry.quantity)), value, source)


def _values() -> Table:
    """Return the empty table of values."""
    table = _table()
    table.add_column("parameter", style="bold", no_wrap=True)
    table.add_column("", max_width=4)
    table.add_column("as printed", min_width=13)
    table.add_column("value, and range", no_wrap=True)
    table.add_column("source", min_width=11)
    return table


def _section(table: Table, words: str) -> None:
    """Start a part of a table of values."""
    from rich.text import Text

    table.add_section()
    table.add_row(Text(words, "italic cyan not bold"))


def _table(title: str | None = None) -> Table:
    """Return an empty table in the one style of the library."""
    from rich import box
    from rich.table import Table

    return Table(
        title=title,
        title_style="bold cyan",
        title_justify="left",
        caption_style="dim",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        header_style="dim",
    )


def _list(rows: Iterable[tuple[str, str]]) -> Table:
    """Return a borderless list with a narrow first column."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    grid.add_column(justify="right", no_wrap=True, style="dim")
    grid.add_column()
    for row in rows:
        grid.add_row(*(Text(words) for words in row))
    return grid


def _internal(entry: Entry) -> str:
    """Return the value in internal units, for example "3.1e-8 mm²/(Pa s)"."""
    quantity = entry.quantity
    return f"{_figure(quantity.value, 3)} {_pretty(quantity.unit)}" if isinstance(quantity, Quantity) else quantity


def _range(entry: Entry) -> str:
    """Return the range in internal units, or an empty text."""
    low, high = entry.low, entry.high
    return f"{_figure(low.value, 3)} … {_figure(high.value, 3)}" if low is not None and high is not None else ""


def _figure(value: float, digits: int) -> str:
    """Return a number with so many digits, as in 4670, 0.28 and 3.1e-8."""
    return re.sub(r"e([+-])0*(\d+)", r"e\1\2", f"{float(f'{value:.{digits}g}'):g}").replace("e+", "e")


def _span(seconds: float) -> str:
    """Return a time in the unit in which it reads well, for example "41 min"."""
    for unit, length in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 1.5 * length:
            return f"{_figure(seconds / length, 2)} {unit}"
    return f"{_figure(seconds, 2)} s"


def _pretty(unit: str) -> str:
    """Return a unit as it is written by hand."""
    return unit.replace("^2", "²").replace("^3", "³").replace("*", " ")


def _all(agent: Agent) -> list[Entry]:
    """Return every entry of an agent."""
    phases = [entry for phase in agent.kinetics for entry in phase]
    tissues = [entry for values in agent.values.values() for entry in values.values()]
    return [agent.molar_mass, agent.unbound_fraction, *phases, *tissues]


def _cited(entries: Iterable[Entry]) -> Text:
    """Return how many values have a source, for example "7 of 12"."""
    from rich.text import Text

    cited = [entry.confidence == "cited" for entry in entries]
    return Text(f"{sum(cited)} of {len(cited)}", "green" if sum(cited) > len(cited) / 2 else "yellow")


def _half_life(rate: Entry) -> str:
    """Return ln 2 over a rate."""
    return _span(float(laws.half_life(_value(rate))))


def _rest(tissue: Tissue) -> tuple[str, str]:
    """Return the resting pressure [mmHg] and the decay length [mm] in words."""
    vessels = _number(tissue, "vessel_conductivity") * _number(tissue, "vessel_surface_density")
    lymph = _number(tissue, "lymphatic_conductance")
    if vessels + lymph == 0.0:
        return "—", "∞"
    effective = laws.effective_pressure(
        _number(tissue, "vascular_pressure"),
        _number(tissue, "osmotic_reflection"),
        _number(tissue, "plasma_oncotic_pressure"),
        _number(tissue, "tissue_oncotic_pressure"),
    )
    rest = laws.plateau_pressure(vessels, effective, lymph, _number(tissue, "lymphatic_pressure"))
    length = laws.decay_length(_number(tissue, "hydraulic_conductivity"), vessels, lymph)
    return f"{float(rest) / factor('mmHg', 'Pa'):.1f}".replace("-0.0", "0.0"), f"{float(length):.2f}"


def _number(tissue: Tissue, parameter: str) -> float:
    """Return a number of a tissue in internal units, or the parameter's default."""
    if parameter in tissue.values:
        return _value(tissue.values[parameter])
    return PARAMETERS[parameter].default or 0.0


def _value(entry: Entry) -> float:
    """Return the number of an entry in internal units."""
    quantity = entry.quantity
    return quantity.value if isinstance(quantity, Quantity) else float("nan")
