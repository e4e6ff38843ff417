"""Which condition stands for which surface: what is there in the body, what the case says, and what that does.

Written once: `turgor check --explain` prints it and the README shows it. Numbers are of Baxter and Jain's constants; a
row without a source is assumed, from what the tissue is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

ASSUMED = "assumed"


@dataclass(frozen=True)
class Situation:
    """A surface as it is in the body, and the condition for it.

    Attributes:
        name: What is there.
        kinds: Kinds of outer surface that it may be: "outside", "cut", "cavity".
        condition: In short.
        line: An entry of `conditions` under [physics.flow]; empty where nothing is to be said.
        reason: Why.
        effect: What it does to the answer.
        source: Where that comes from, or "assumed".
    """

    name: str
    kinds: tuple[str, ...]
    condition: str
    line: str
    reason: str
    effect: str
    source: str = ASSUMED


SITUATIONS = (
    Situation(
        "sealed capsule",
        ("outside",),
        "none: a surface that is not named is sealed",
        "",
        "a dense capsule lets no fluid through",
        "fluid leaves through vessels and lymph alone; the pressure stays at its plateau up to the capsule, and the "
        "velocity there is 0. A capsule between tumor and organ is a thin region of low hydraulic_conductivity",
    ),
    Situation(
        "draining capsule",
        ("outside",),
        "exchange",
        '{ on = "organ|outside", exchange = { coefficient = "1e-7 mm/(Pa*s)", to = "0 mmHg" } }',
        "fluid seeps through the capsule the faster, the more pressure there is behind it",
        "between sealed and held: with a coefficient far below K α (1.1e-7 mm/(Pa s) in a tumor) it is sealed, far "
        "above K α its pressure is held; in between it decides the rim velocity, so vary it",
        "K α: Baxter and Jain (1989); the coefficient is assumed",
    ),
    Situation(
        "skin",
        ("outside",),
        "none: sealed",
        "",
        "the horny layer lets hardly any fluid through",
        "lymph and vessels of the tissue below must drain it; without lymph its pressure rises to where vessels stop "
        "leaking (6.5 mmHg)",
        "6.5 mmHg: constants of Baxter and Jain (1989); sealed is assumed",
    ),
    Situation(
        "bone or dura",
        ("outside",),
        "none: sealed",
        "",
        "no fluid passes; where CSF lies between brain and dura, it is a ventricle (below)",
        "as a sealed capsule; near a tumor it turns the flow aside and holds the pressure up on that side",
    ),
    Situation(
        "far tissue",
        ("outside",),
        "the pressure at which the tissue rests",
        '{ on = "organ|outside", pressure = "-0.3 mmHg" }',
        "far from the tumor vessels give what lymph takes, at the pressure p∞ = (A pe + L pL)/(A + L) of that tissue; "
        "-0.3 mmHg is that of breast",
        "none, where p∞ is right and the surface lies several 1/α away (0.6 mm in normal tissue): 10 mm from a tumor, "
        "sealed and 0 mmHg give the same rim velocity to 5 digits. A wrong pressure feeds or drains the tissue beside "
        "the surface",
        "pressure of breast: Nathanson and Nelson (1994); digits: closed form of a sphere in a shell",
    ),
    Situation(
        "scan cut",
        ("cut",),
        "the pressure at which the tissue rests, or none",
        '{ on = "*|cut", pressure = "-0.3 mmHg" }',
        "the tissue goes on beyond the image",
        "as far tissue where the cut is several 1/α from the tumor; where it goes through the tumor, both are wrong: "
        "run both, and believe only what does not change",
    ),
    Situation(
        "ventricle",
        ("cavity",),
        "the pressure of the CSF",
        '{ on = "*|csf", pressure = "10 mmHg" }',
        "CSF is a fluid at one pressure; 10 mmHg is an assumed intracranial pressure of an adult who lies down",
        "sets the level of all pressures in the brain; tissue and edema drain into it, and velocities are large there",
    ),
    Situation(
        "resection cavity",
        ("cavity",),
        "the pressure of its fluid",
        '{ on = "*|cavity", pressure = "0 mmHg" }',
        "with a drain or an open wound it is that of the drain; joined to the ventricles it is that of the CSF; "
        "closed, it is not known: run it sealed, too",
        "held low it draws the fluid of the tissue around, and with it the drug; sealed it does neither",
    ),
    Situation(
        "bare tumor",
        ("outside",),
        "mesh the tissue around it; else a pressure at its rim",
        '{ on = "tumor|outside", pressure = "0 mmHg" }',
        "many published models hold p = 0 at the tumor's surface, as if it hung in a bath",
        "all of the fall is in the tumor: a rim velocity of 1.7e-7 m/s, where the same tumor in normal tissue has "
        "7e-9 m/s, 24 times less",
        "closed forms of Baxter and Jain (1989)",
    ),
)
"""In the order in which they are shown."""

HEAD = ("situation", "condition", "line of the case", "why", "what it does to the answer", "source")


def rows() -> Iterator[tuple[str, ...]]:
    """Yield the rows of the table."""
    for one in SITUATIONS:
        yield (one.name, one.condition, one.line, one.reason, one.effect, one.source)


def markdown() -> str:
    """Return the table as the README shows it."""
    lines = [" | ".join(HEAD), " | ".join("---" for _ in HEAD)]
    for name, condition, line, reason, effect, source in rows():
        code = f"`{line.replace('|', '\\|')}`" if line else "–"
        lines.append(" | ".join((f"**{name}**", condition, code, reason, effect, source)))
    return "\n".join(f"| {line} |" for line in lines) + "\n"


def table() -> Table:
    """Return the table for the terminal."""
    from rich.markup import escape
    from rich.table import Table

    made = Table(title="which condition?", title_justify="left", show_lines=True)
    for head in ("situation", "condition", "why", "what it does to the answer"):
        made.add_column(head, overflow="fold")
    for name, condition, line, reason, effect, source in rows():
        said = f"{condition}\n{line}" if line else condition
        made.add_row(*(escape(text) for text in (name, said, reason, f"{effect} ({source})")))
    return made


def candidates(surfaces: Mapping[str, tuple[str, float]], held: Mapping[str, Mapping[str, str]]) -> Table:
    """Return what each outer surface of a case may be, beside the condition of the flow that holds there now."""
    from rich.table import Table

    made = Table("surface", "now", "may be", title="outer surfaces of this case", title_justify="left")
    for name, (kind, _) in surfaces.items():
        fitting = [one.name for one in SITUATIONS if kind in one.kinds]
        if fitting:
            made.add_row(name, held.get(name, {}).get("flow", "sealed, not named"), ", ".join(fitting))
    return made
