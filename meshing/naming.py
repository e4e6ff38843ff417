"""What the labels of an image are called: by number, by a name of the header, or by a name of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from turgor.materials.errors import SegmentationError, nearest
from turgor.meshing.tables import plain, table


@dataclass(frozen=True)
class Names:
    """Names of label values: those of the header, then those of a table.

    Attributes:
        header: Number -> name.
        table: The table that the case names.
        there: Label values of the image.
        title: Name of the file.
        kind: What carries a name.
    """

    header: Mapping[int, str]
    table: str | None
    there: Sequence[int]
    title: str
    kind: str = "segment"

    def listing(self) -> str:
        """Return what there is, in words."""
        said = [f"{n} ({self.header[n]})" if self.header.get(n) else str(n) for n in self.there if n != 0]
        return ", ".join(said[:30]) + (" ..." if len(said) > 30 else "")

    def numbers(self, values: Sequence[int | str], where: str) -> tuple[int, ...]:
        """Return the numbers of label values and names."""
        found: list[int] = []
        for value in values:
            found += [value] if isinstance(value, int) else self._of_name(value, where)
        return tuple(dict.fromkeys(found))

    def _of_name(self, name: str, where: str) -> list[int]:
        """Return the number of a name; several segments of one name must be called by number."""
        own = [number for number, said in self.header.items() if said and plain(said) == plain(name)]
        exact = [number for number in own if self.header[number] == name]
        own = exact if len(exact) == 1 else own
        if len(own) > 1:
            raise SegmentationError(
                f"mesh.image.{where}: {self.title} has {len(own)} {self.kind}s called {name!r} "
                f"({', '.join(map(str, own))}); say which by number"
            )
        return own or self._of_table(name, where)

    def _of_table(self, name: str, where: str) -> list[int]:
        """Return the label value of a name of the table."""
        names = table(self.table, self.there) if self.table is not None else {}
        for number, called in names.items():
            if plain(name) in map(plain, called):
                if number not in self.there:
                    raise SegmentationError(
                        f"mesh.image.{where}: {name!r} is label {number}, which is not in {self.title}; "
                        f"it holds {self.listing()}"
                    )
                return [number]
        known = [
            said for said in (*self.header.values(), *(one for called in names.values() for one in called)) if said
        ]
        holds = f"it holds {self.listing()}" if not known else f"it knows {', '.join(map(repr, known[:12]))}"
        advice = (
            "" if known or self.table else '; names come from its header, or from a table: table = "totalsegmentator"'
        )
        raise SegmentationError(
            f"mesh.image.{where}: {self.title} has no {self.kind} {name!r}; {holds}{advice}.{nearest(name, known)}"
        )
