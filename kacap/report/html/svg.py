"""A chart as inline SVG: text alternatives for who cannot see it, no style attribute, colours for dark paper too."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import astuple
from io import BytesIO
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from kacap.report.chart.palette import DARK, LIGHT
from kacap.units import clean

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from matplotlib.figure import Figure

SVG, XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
LEFT_OUT = {f"{SVG}metadata", f"{SVG}title", f"{SVG}style"}


def inline(figure: Figure, name: str) -> str:
    """Return a chart of ``report.chart`` as an ``svg`` element; ids begin with ``name`` and a digest of the picture.

    So several pictures, in one page or one notebook, never share an id unless they are the same.

    A Content-Security-Policy forbids style attributes: each property becomes the presentation attribute of its name,
    which a style sheet may overrule for dark paper.
    """
    from kacap.report.chart.save import write

    out = BytesIO()
    write(figure, out, "svg")
    prefix = f"{name}-{hashlib.sha256(out.getvalue()).hexdigest()[:8]}-"
    root = ElementTree.fromstring("\n".join(map(clean, out.getvalue().decode().split("\n"))))
    wanted = {reference for node in root.iter() for reference in _references(node)}
    _uncolour(root)
    _tidy(root, wanted, prefix)
    title, words = getattr(figure, "said", ("", ""))
    _describe(root, title, words, prefix)
    return ElementTree.tostring(root, encoding="unicode")


def dark_rules(scope: str) -> Iterator[str]:
    """Yield style rules, below the selector ``scope``, that give a chart its colours for dark paper."""
    for light, dark in zip(astuple(LIGHT), astuple(DARK), strict=True):
        for name in ("fill", "stroke"):
            yield f'{scope} [{name}="{light.lower()}"] {{ {name}: {dark.lower()}; }}'


def _uncolour(root: Element) -> None:
    """Take the colours off the shapes that are used again and again: each use says its own, and rules reach only it."""
    used = {reference for node in root.iter(f"{SVG}use") for reference in _references(node)}
    for node in root.iter():
        if node.get("id") in used:
            style = _properties(node.get("style", ""), "")
            node.set("style", ";".join(f"{k}:{v}" for k, v in style.items() if k not in ("fill", "stroke")))


def _references(node: Element) -> list[str]:
    """Return the ids that a node refers to."""
    found = [value[1:] for name, value in node.attrib.items() if name.endswith("href") and value.startswith("#")]
    return found + [name for value in node.attrib.values() for name in re.findall(r"url\(#([^)]+)\)", value)]


def _tidy(node: Element, wanted: set[str], prefix: str) -> None:
    """Take off what a page does not need, give ids the prefix, and turn styles into attributes, all the way down."""
    node.tag = node.tag.removeprefix(SVG)
    attributes = {}
    for name, value in node.attrib.items():
        if name == "style":
            attributes.update(_properties(value, prefix))
        elif name == "id":
            attributes.update({"id": prefix + value} if value in wanted else {})
        elif value.startswith("url(#"):
            attributes[name] = f"url(#{prefix}{value[5:]}"
        elif name == f"{XLINK}href":
            attributes["href"] = f"#{prefix}{value[1:]}"
        else:
            attributes[name] = value
    node.attrib.clear()
    node.attrib.update(attributes)
    for child in list(node):
        if child.tag in LEFT_OUT:
            node.remove(child)
        else:
            _tidy(child, wanted, prefix)


def _properties(style: str, prefix: str) -> dict[str, str]:
    """Return the declarations of a style attribute by name."""
    pairs = (part.partition(":") for part in style.split(";") if ":" in part)
    found = {name.strip(): value.strip() for name, _, value in pairs}
    return {name: value.replace("url(#", f"url(#{prefix}") for name, value in found.items()}


def _describe(root: Element, title: str, words: str, prefix: str) -> None:
    """Give the picture a role, a title and a description, and let it fit its column."""
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.set("xmlns", SVG[1:-1])
    root.set("role", "img")
    root.set("aria-labelledby", f"{prefix}title {prefix}desc")
    for number, (name, text) in enumerate((("title", title), ("desc", words))):
        node = ElementTree.Element(name, id=prefix + name)
        node.text = text
        root.insert(number, node)
