"""The graph of files that are used together, as GraphML (graphml.graphdrawing.org)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final
from xml.sax.saxutils import escape

__all__ = ["write_graphml"]

_HEAD: Final = """<?xml version="1.0" encoding="UTF-8"?>
<graphml xmlns="http://graphml.graphdrawing.org/xmlns">
<key id="path" for="node" attr.name="path" attr.type="string"/>
<key id="uses" for="edge" attr.name="uses" attr.type="int"/>
<key id="success_rate" for="edge" attr.name="success_rate" attr.type="double"/>
<graph id="files" edgedefault="undirected">
"""
_NOT_XML: Final = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write_graphml(edges: Iterable[tuple[str, str, int, int]]) -> Iterator[bytes]:
    """Yield the document; ``edges`` are ``(file, file, uses together, successes of those)``."""
    known = list(edges)
    numbers = {path: number for number, path in enumerate(sorted({path for edge in known for path in edge[:2]}))}
    yield _HEAD.encode()
    for path, number in numbers.items():
        text = escape(_NOT_XML.sub("\ufffd", path))
        yield f'<node id="f{number}"><data key="path">{text}</data></node>\n'.encode()
    for one, other, uses, good in known:
        yield (
            f'<edge source="f{numbers[one]}" target="f{numbers[other]}"><data key="uses">{uses}</data>'
            f'<data key="success_rate">{good / uses if uses else 0.0!r}</data></edge>\n'
        ).encode()
    yield b"</graph>\n</graphml>\n"
