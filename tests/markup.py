"""Reads pages strictly. Those that are built like earlier ones need a twentieth of the time."""

from __future__ import annotations

import re
from html import unescape
from xml.etree.ElementTree import Element, SubElement

import html5lib

_SVG = "{http://www.w3.org/2000/svg}"
_VOID = {"area", "base", "br", "col", "hr", "img", "input", "link", "meta", "source", "wbr"}
_TOKEN = re.compile(
    r"<!doctype html>"
    r"|</(?P<end>[a-z][a-z0-9]*)>"
    r'|<(?P<start>[a-z][a-z0-9]*)(?P<attributes>(?:\s+[A-Za-z][A-Za-z:-]*(?:="[^"]*")?)*)\s*(?P<slash>/?)>'
    r"|(?P<text>[^<]+)",
    re.IGNORECASE,
)
_ATTRIBUTE = re.compile(r'([A-Za-z][A-Za-z:-]*)(?:="([^"]*)")?')
_UNUSUAL = re.compile(
    r"&(?!(?:amp|lt|gt|quot|nbsp|#34|#39);)[A-Za-z#]"
    r"|[^\t\n\r -~\xa0-\U0010ffff]|[\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
)

Places = set[tuple[str, ...]]
_strictly_read: Places = set()


class _Unusual(Exception):
    """The page has something that only a whole parser of HTML reads as browsers do."""


def parse(html: str) -> Element:
    """Return the tree of a page.

    :raises html5lib.html5parser.ParseError: the page is not valid HTML.
    """
    html = html.replace("\r\n", "\n").replace("\r", "\n")
    try:
        tree, places = _read(html)
    except _Unusual:
        return _read_strictly(html)
    if not places <= _strictly_read:
        strict = _read_strictly(html)
        if _content(strict) != _content(tree):
            return strict
        _strictly_read.update(places)
    return tree


def _read_strictly(html: str) -> Element:
    tree: Element = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(html)
    return tree


def _read(html: str) -> tuple[Element, Places]:
    """Read a page in which each element is closed where it ends, and list where it has which elements.

    :raises _Unusual: it is another page.
    """
    if _UNUSUAL.search(html):
        raise _Unusual
    page = Element("page")
    open_, place, places = [page], (), set()
    position = 0
    for token in _TOKEN.finditer(html):
        if token.start() != position:
            raise _Unusual
        position = token.end()
        if text := token["text"]:
            _append(open_[-1], unescape(text))
        elif name := token["start"]:
            inside_svg = name == "svg" or open_[-1].tag.startswith(_SVG)
            element = SubElement(open_[-1], _SVG + name if inside_svg else name, _attributes(token["attributes"]))
            places.add((*place, name))
            if not inside_svg and bool(token["slash"]) > (name in _VOID):
                raise _Unusual
            if not (token["slash"] or name in _VOID):
                open_.append(element)
                place = (*place, name)
        elif name := token["end"]:
            if place[-1:] != (name,):
                raise _Unusual
            open_.pop()
            place = place[:-1]
    if position != len(html) or place or [element.tag for element in page] != ["html"]:
        raise _Unusual
    return page[0], places


def _append(element: Element, text: str) -> None:
    if len(element):
        element[-1].tail = (element[-1].tail or "") + text
    elif element.tag in ("pre", "textarea") and element.text is None:
        element.text = text.removeprefix("\n")
    else:
        element.text = (element.text or "") + text


def _attributes(source: str) -> dict[str, str]:
    found = _ATTRIBUTE.findall(source)
    attributes = {name.lower(): unescape(value) for name, value in found}
    if len(attributes) != len(found):
        raise _Unusual
    return attributes


def _content(tree: Element) -> list[tuple[str, dict[str, str], str]]:
    return [
        (
            element.tag,
            {name.lower(): value for name, value in element.attrib.items()},
            "".join(element.itertext()).strip(),
        )
        for element in tree.iter()
    ]
