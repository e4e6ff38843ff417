"""The papers behind the numbers: one BibTeX file, read simply."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

from turgor.materials.errors import CaseError, nearest

_ENTRY = re.compile(r"^@(?P<kind>\w+)\{(?P<key>[^,\s]+),\n(?P<body>.*?)^\}$", re.MULTILINE | re.DOTALL)
_FIELD = re.compile(r"^\s*(?P<name>\w+)\s*=\s*\{(?P<value>.*?)\},?$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Reference:
    """One entry of the bibliography.

    Attributes:
        key: BibTeX key.
        text: The entry as it stands in the file.
        fields: Its fields by name, on one line each and without braces.
    """

    key: str
    text: str
    fields: Mapping[str, str]


@cache
def references() -> Mapping[str, Reference]:
    """Return every entry of `references.bib` by key, read once."""
    text = Path(__file__).with_name("references.bib").read_text(encoding="utf-8")
    return MappingProxyType({match["key"]: _reference(match) for match in _ENTRY.finditer(text)})


def bibliography(keys: Iterable[str]) -> str:
    """Return the BibTeX text of the given entries, each once, sorted by key.

    Raises:
        CaseError: A key is not in `references.bib`.
    """
    return "\n".join(f"{_find(key).text}\n" for key in sorted(set(keys)))


def citation(key: str) -> str:
    """Return one readable line: authors, year, title, journal, doi.

    Raises:
        CaseError: The key is not in `references.bib`.
    """
    fields = _find(key).fields
    authors = _authors(fields.get("author", ""))
    year = f"({fields['year']})" if "year" in fields else ""
    head = " ".join(part for part in (authors, year) if part)
    parts = [head, fields.get("title", ""), _place(fields), fields.get("howpublished", "")]
    line = ". ".join(part.rstrip(".") for part in parts if part) + "."
    return f"{line} doi:{fields['doi']}" if "doi" in fields else line


def _place(fields: Mapping[str, str]) -> str:
    """Return "Journal 37:77-104", or as much of it as is known."""
    place = fields.get("journal", "")
    if "volume" in fields:
        place = f"{place} {fields['volume']}"
    if "pages" in fields:
        separator = ":" if "volume" in fields else ", "
        place = f"{place}{separator}{fields['pages'].replace('--', '-')}"
    return place


def _find(key: str) -> Reference:
    """Return one entry, or say which key is close."""
    known = references()
    if key not in known:
        raise CaseError(f"the bibliography has no entry {key!r}.{nearest(key, known)}")
    return known[key]


def _reference(match: re.Match[str]) -> Reference:
    """Return one entry from its match in the file."""
    fields = {
        field["name"]: re.sub(r"\s+", " ", field["value"]).replace("{", "").replace("}", "")
        for field in _FIELD.finditer(match["body"])
    }
    return Reference(match["key"], match[0], MappingProxyType(fields))


def _authors(field: str) -> str:
    """Return "Baxter and Jain", or "Dogra et al." from three on."""
    people = [name for name in field.split(" and ") if name]
    family = [name.partition(",")[0] for name in people]
    if len(family) > 2 or "others" in family:
        return f"{family[0]} et al."
    return " and ".join(family)
