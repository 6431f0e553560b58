"""Standalone program that renders a README: standard input to safe HTML on standard output, errors on standard error.

It uses PyPI's renderer. The HTML is sanitized once more so that it cannot affect the surrounding page: it contains no
images (the page requests nothing from other hosts, so they are links with their alternative text), no ids or classes of
the page, and no relative links into the registry.

The program imports nothing of the registry and starts in a tenth of a second.
"""

from __future__ import annotations

import html
import io
import json
import resource
import sys
from email.message import Message
from html.parser import HTMLParser
from pathlib import PurePosixPath
from typing import TextIO
from urllib.parse import urlsplit

import nh3
from readme_renderer import markdown, rst

PROCESSOR_SECONDS = 2
MEMORY_BYTES = 256 << 20
LONGEST_HTML = 2 << 20
WRONG = 3  # exit status: the README is invalid for its content type
LONGEST_REASON = 300

_VARIANTS = ("GFM", "CommonMark")
_TAGS = {
    "a", "abbr", "b", "blockquote", "br", "caption", "cite", "code", "dd", "del", "details", "div", "dl", "dt", "em",
    "h3", "h4", "h5", "h6", "hr", "i", "kbd", "li", "ol", "p", "pre", "s", "span", "strong", "sub", "summary", "sup",
    "table", "tbody", "td", "th", "thead", "tr", "tt", "ul", "var",
}  # fmt: skip
_ATTRIBUTES = {
    "*": {"id"},
    "a": {"href", "title"},
    "abbr": {"title"},
    "ol": {"start"},
    "td": {"align", "colspan", "rowspan"},
    "th": {"align", "colspan", "rowspan"},
    "p": {"align"},
    "div": {"align"},
}
# Classes of highlighted code that static/app.css has a color for.
_CODE_CLASSES = {
    "c", "c1", "ch", "cm", "cp", "cs", "gd", "gi", "go", "gp", "k", "kc", "kd", "kn", "kr", "kt", "m", "mf", "mi", "na",
    "nb", "nc", "nd", "nf", "nn", "nt", "nv", "o", "ow", "s", "s1", "s2", "sa", "sd", "se", "si",
}  # fmt: skip
_IMAGE_CLASS = "readme-image"
_ID_PREFIX = "user-content-"  # the prefix that the renderer gives to the ids of headings
_AS_DIV = {"section", "nav", "aside"}  # would be landmarks of the page, but their ids are targets of links
_LOWER_HEADINGS = {"h1": "h3", "h2": "h4", "h3": "h5", "h4": "h6", "h5": "h6"}  # the page itself uses h1 and h2


def main() -> None:
    """Render one README; exceeding the limits on time or memory ends the process by a signal or an exception."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR_SECONDS, PROCESSOR_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    reasons = io.StringIO()
    rendered = render(**json.load(sys.stdin), reasons=reasons)
    if rendered is None:
        sys.stderr.buffer.write(" ".join(reasons.getvalue().split())[:LONGEST_REASON].encode())
        sys.exit(WRONG)
    if len(rendered) > LONGEST_HTML:
        sys.exit(1)
    sys.stdout.buffer.write(rendered.encode())


def render(text: str, content_type: str, reasons: TextIO) -> str | None:
    """Render a description as HTML; return ``None`` if it is invalid for its type and has to be shown as plain text.

    :param content_type: with parameters; empty means reStructuredText, if the text is valid as such
        (PyPA specifications, "Core metadata", Description-Content-Type).
    :param reasons: receives the errors of the renderer.
    """
    message = Message()
    message["Content-Type"] = " ".join(content_type.split()) or "text/x-rst"
    rendered = None
    if message.get_content_type() == "text/markdown":
        variant = message.get_param("variant")
        rendered = markdown.render(text, variant=variant if variant in _VARIANTS else "GFM")
    elif message.get_content_type() == "text/x-rst":
        rendered = rst.render(text, stream=reasons)
    return clean(rendered) if rendered else None


def clean(rendered: str) -> str:
    """Sanitize untrusted HTML for inclusion in a page of the registry."""
    outline = _Outline()
    outline.feed(rendered)
    outline.close()
    safe: str = nh3.clean(
        "".join(outline.parts),
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        allowed_classes={"span": {*_CODE_CLASSES, _IMAGE_CLASS}},
        url_schemes={"http", "https", "mailto"},
        url_relative=_within_readme,
        link_rel="nofollow noopener noreferrer",
        id_prefix=_ID_PREFIX,
    )
    return safe


def _within_readme(address: str) -> str | None:
    """Keep links to sections of the README; drop other links without a host, which would lead into the registry."""
    if not address.startswith("#") or address == "#top":
        return None
    return f"#{_ID_PREFIX}{address[1:].removeprefix(_ID_PREFIX)}"


class _Outline(HTMLParser):
    """Lowers headings below those of the page, makes images links and check boxes text, and drops empty links.

    The result is not yet safe: it is sanitized afterwards.
    """

    def __init__(self) -> None:
        super().__init__(convert_charrefs=False)
        self.parts: list[str] = []
        self._is_in_link = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        source = self.get_starttag_text() or ""
        if tag == "img":
            self._add_image(attributes.get("src") or "", attributes.get("alt") or "")
        elif tag == "input":
            self.parts.append("☑ " if "checked" in attributes else "☐ ")
        elif tag in _LOWER_HEADINGS:
            self.parts.append(f"<{_LOWER_HEADINGS[tag]}{source[1 + len(tag) :]}")
        elif tag in _AS_DIV:
            self.parts.append(f"<div{source[1 + len(tag) :]}")
        else:
            self._is_in_link = self._is_in_link or tag == "a"
            self.parts.append(source)

    def _add_image(self, source: str, alternative: str) -> None:
        """Add a link to an image, or only its text if it is part of a link or has no address of its own."""
        is_link = source.startswith(("https://", "http://")) and not self._is_in_link
        words = alternative or (PurePosixPath(urlsplit(source).path).name if is_link else "")
        if not words:
            return
        text = f'<span class="{_IMAGE_CLASS}">{html.escape(words)}</span>'
        self.parts.append(f'<a href="{html.escape(source)}">{text}</a>' if is_link else text)

    def handle_endtag(self, tag: str) -> None:
        if tag == "a":
            self._is_in_link = False
        if tag == "a" and self.parts and self.parts[-1].startswith("<a"):
            self.parts.pop()  # a link without text, such as the anchor after a heading
            return
        self.parts.append(f"</{'div' if tag in _AS_DIV else _LOWER_HEADINGS.get(tag, tag)}>")

    def handle_data(self, data: str) -> None:
        self.parts.append(data)

    def handle_entityref(self, name: str) -> None:
        self.parts.append(f"&{name};")

    def handle_charref(self, name: str) -> None:
        self.parts.append(f"&#{name};")


if __name__ == "__main__":
    main()
