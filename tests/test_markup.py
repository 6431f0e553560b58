from __future__ import annotations

import pytest
from html5lib.html5parser import ParseError

from tests import markup

PAGE = "<!doctype html>\n<html><head><title>t</title></head><body><p>{}<a href='/'>home</a></p></body></html>".replace(
    "'", '"'
)


@pytest.fixture(autouse=True)
def _such_a_page_was_read() -> None:
    markup.parse(PAGE.format(""))


@pytest.mark.parametrize(
    "fault",
    [
        "<b>", "</b>", "<div></div>", "<a>", "<b/>", "<br", "<p></a>", "&nosuch;", "&amp", "&#0;", "\x01", "\ufdd0",
        "<a id='1' id='2'></a>", '<a id="1"class="2"></a>', "<table>text</table>", "<table><a></a></table>", "<A B<>",
    ],
)  # fmt: skip
def test_a_page_with_a_fault_is_refused_although_a_similar_page_was_read(fault):
    with pytest.raises(ParseError):
        markup.parse(PAGE.format(fault))


def test_a_page_is_read_alike_whether_or_not_a_similar_page_was():
    html = PAGE.format(
        '1\r\n&lt; 2 &amp;<br>&#39;<input value="&quot;" checked><svg viewBox="0 0 1 1"><path d="M0"/></svg>'
    )
    first, again = (markup.parse(html) for _ in range(2))
    for tree in (first, again):
        assert "".join(tree.itertext()) == "t1\n< 2 &'home"
        assert [tag.tag for tag in tree.findall(".//{*}path")] == ["{http://www.w3.org/2000/svg}path"]
        assert [(field.get("value"), field.get("checked")) for field in tree.iter("input")] == [('"', "")]
