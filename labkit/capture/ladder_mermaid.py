"""The ladder as a Mermaid sequence diagram (https://mermaid.js.org/syntax/sequenceDiagram.html), for Markdown pages."""

from __future__ import annotations

import re

from labkit.capture.ladder import Arrow, Ladder

_SPECIAL = re.compile(r"[#;<>&\"`{}\[\]\\]|[^\x20-\uffff]")


def _escape(words: str) -> str:
    """Mermaid's own form of entities, without the ampersand."""
    return _SPECIAL.sub(lambda match: f"#{ord(match[0])};", words)


def render(ladder: Ladder) -> str:
    lines = ["sequenceDiagram", f"    accTitle: {_escape(ladder.title)}"]
    for number, column in enumerate(ladder.columns):
        name = column.name if column.name == column.address else f"{column.name} {column.address}"
        lines.append(f"    participant h{number} as {_escape(name)}")
    for row in ladder.rows:
        source, target = f"h{row.source}", f"h{row.target}"
        if isinstance(row, Arrow):
            lines.append(f"    {source}{'->>' if row.request else '-->>'}{target}: {_escape(row.label)}")
        else:
            ends = source if source == target else f"{source},{target}"
            lines.append(
                f"    Note over {ends}: {_escape(f'{ladder.columns[row.source].name} → {ladder.columns[row.target].name} {row.label}')}"
            )
    return "\n".join(lines) + "\n"
