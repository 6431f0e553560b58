"""READMEs on package pages: rendered, harmless, and never a burden."""

from __future__ import annotations

import io
import re
import threading
import time

import pytest

from registry.domain.distributions import readme_worker, readmes
from registry.domain.distributions.core_metadata import Description, description
from registry.domain.packages.readmes import MAX_WAITING, Readme, Readmes, Remark
from registry.storage import is_readme
from tests import factories
from tests.builders import build_sdist, build_wheel, metadata

MARKDOWN = "text/markdown; charset=UTF-8; variant=GFM"
ATTACKS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '<a href="javascript:alert(1)">x</a>',
    "[x](javascript:alert(1))",
    "[x](data:text/html;base64,PHNjcmlwdD4=)",
    "[x](vbscript:msgbox)",
    '<iframe src="https://evil.example"></iframe>',
    '<object data="evil.swf"></object>',
    "<style>body { display: none }</style>",
    '<div style="position: fixed; inset: 0">x</div>',
    '<form action="https://evil.example"><input name="password"><button>Sign in</button></form>',
    '<svg onload="alert(1)"><script>alert(1)</script></svg>',
    '<math><mtext><table><mglyph><style><img src=x onerror="alert(1)">',
    '<p title="`<img src=x onerror=alert(1)>`">x</p>',
    '<a title="x></a><img src=x onerror=alert(1)>" href="https://example.com"></a>',
    '<img alt="&lt;img src=x onerror=alert(1)&gt;" src=x>',
    "<img alt='\"><script>alert(1)</script>' src=x>",
    '<base href="https://evil.example/">',
    '<meta http-equiv="refresh" content="0;url=https://evil.example">',
    '<link rel="stylesheet" href="https://evil.example/x.css">',
    "<!--><img src=x onerror=alert(1)>-->",
    "<details open ontoggle=alert(1)>x</details>",
    '<div class="confirm-dialog flash" id="content">spoofed</div>',
    '<button popovertarget="sidebar">x</button>',
]
HARMLESS = re.compile(r"<(/?)([a-z0-9]+)((?: [a-z]+=\"[^\"<]*\")*) ?/?>")


def is_harmless(html):
    """Whether a document has only allowed tags and attributes, and no dangerous addresses."""
    rest = HARMLESS.sub("", html)
    for _, tag, attributes in HARMLESS.findall(html):
        named = re.findall(r" ([a-z]+)=\"([^\"]*)\"", attributes)
        assert tag in readme_worker._TAGS, html
        for name, value in named:
            assert name in {"align", "class", "colspan", "href", "id", "rel", "rowspan", "start", "title"}, html
            assert name != "href" or value.startswith(("http://", "https://", "mailto:", "#user-content-")), html
            assert name != "id" or value.startswith("user-content-"), html
    return "<" not in rest


@pytest.fixture
def shown(browser_of, owner, project):
    """The README on the page of a package that has this description."""

    def show(description, content_type=MARKDOWN):
        built = build_wheel(description=description, description_content_type=content_type)
        package_id = factories.published(project, built).package_id
        page = complete_page(browser_of(owner), package_id)
        found = page.by_class("readme")
        assert page.tree is not None
        return found[0] if found else None

    return show


def complete_page(browser, package_id):
    """The page of a package, loaded again until it has its README."""
    return soon(lambda: browser.get(f"/acme/tools/-/packages/{package_id}"), lambda page: not is_pending(page))


def is_pending(page):
    assert page.status_code == 200
    return bool(page.by_class("readme-pending"))


def soon(look, is_done):
    end = time.monotonic() + 60
    while not is_done(found := look()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found


def test_markdown_is_shown_below_the_headings_of_the_page(shown):
    found = shown("# Demo\n\nSome *words*.\n\n## Usage\n\n| a | b |\n|---|---|\n| 1 | 2 |\n")

    assert [found.find(f".//{tag}").text for tag in ("h3", "h4", "em", "td")] == ["Demo", "Usage", "words", "1"]


def test_restructured_text_is_shown_with_and_without_a_declared_type(shown):
    assert shown("Demo\n====\n\nSome *words*.\n", "").find(".//em").text == "words"


def test_plain_text_keeps_its_lines(shown):
    found = shown("one\n  <b>two</b>\n", "text/plain")

    assert found.find("div").text == "one\n  <b>two</b>"


def test_invalid_restructured_text_is_shown_as_plain_text(shown):
    text = "Title\n===\n\n.. raw:: html\n\n   <script>alert(1)</script>\n\n`broken"

    assert shown(text, "").find("div").text == text


def test_a_package_without_a_description_has_no_readme(shown):
    assert shown("") is None


def test_the_newest_file_speaks_for_the_package(browser_of, owner, project):
    factories.published(project, build_wheel(description="old", description_content_type=MARKDOWN))
    file = factories.published(project, build_sdist(description="new", description_content_type=MARKDOWN))

    page = complete_page(browser_of(owner), file.package_id)

    assert page.by_class("readme")[0].find("p").text == "new"


@pytest.mark.parametrize("fold", [" " * 8, " " * 7 + "|", " " * 7 + "| ", "\t"], ids=repr)
def test_a_description_kept_in_a_field_is_unfolded(fold):
    document = metadata("demo", "1.0", headers=["Description: # Old", fold, f"{fold}style"])

    assert description(document).text == "# Old\n\nstyle"


def test_images_are_links_with_their_descriptions(shown):
    images = "![Build passing](https://ci.example/badge.svg) ![](https://ci.example/a/plot.png?w=1) ![](tracker.gif)"
    found = shown(f"{images} [![Docs](https://ci.example/docs.svg)](https://docs.example)")

    assert list(found.iter("img")) == []
    assert [(link.get("href"), link.find("span").text) for link in found.iter("a")] == [
        ("https://ci.example/badge.svg", "Build passing"),
        ("https://ci.example/a/plot.png?w=1", "plot.png"),
        ("https://docs.example", "Docs"),
    ]


def test_a_table_of_contents_leads_to_the_sections(shown):
    found = shown(
        ".. contents:: Contents\n\nIntroduction\n============\n\nText.\n\nUsage\n=====\n\nText.", "text/x-rst"
    )

    targets = {element.get("id") for element in found.iter() if element.get("id")}
    links = {link.text: link.get("href") for link in found.iter("a")}
    assert links["Contents"] is None
    assert {links["Introduction"][1:], links["Usage"][1:]} <= targets


def test_links_lead_out_without_recommending_and_not_into_the_registry(shown):
    found = shown("[out](https://example.com) [in](../../admin) [there](#usage) [root](//evil.example)\n\n## Usage")

    links = {link.text: (link.get("href"), link.get("rel")) for link in found.iter("a")}
    rel = "nofollow noopener noreferrer"
    assert links["out"] == ("https://example.com", rel)
    assert links["in"] == links["root"] == (None, rel)
    assert links["there"] == ("#user-content-usage", rel)
    assert found.find(".//h4").get("id") == "user-content-usage"


def test_links_without_words_are_left_out(shown):
    found = shown("## Usage\n\n[](https://example.com) [![](x.png)](https://example.com)")

    assert list(found.iter("a")) == []


def test_tasks_are_signs_and_no_fields(shown):
    found = shown("- [x] done\n- [ ] open\n")

    assert list(found.iter("input")) == []
    assert [" ".join(item.text.split()) for item in found.iter("li")] == ["☑ done", "☐ open"]


def test_code_is_coloured_by_classes_of_its_own_alone(shown):
    found = shown('```python\ndef f(): return "x"\n```\n\n<span class="flash confirm-dialog k">x</span>')

    classes = {span.get("class") for span in found.iter("span")}
    assert "k" in classes
    assert not any("flash" in name or "confirm" in name for name in classes if name)


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("content_type", [MARKDOWN, "text/markdown; variant=CommonMark", "text/x-rst", ""])
def test_an_attack_is_disarmed(attack, content_type):
    rendered = readme_worker.render(f"Before {attack} after\n\n{attack}\n", content_type, io.StringIO())

    assert rendered is None or is_harmless(rendered)


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_disarmed_by_the_last_step_alone(attack):
    assert is_harmless(readme_worker.clean(attack))


def test_an_attack_has_no_effect_on_the_page(shown):
    found = shown("\n\n".join(ATTACKS))

    assert not {"script", "img", "iframe", "object", "style", "form", "input", "svg", "base"} & {
        element.tag for element in found.iter()
    }
    assert not any(name.startswith("on") for element in found.iter() for name in element.keys())  # noqa: SIM118


@pytest.mark.parametrize(
    "content_type", ["text/html", "nonsense", "text/markdown; variant=\x00", 'text/markdown; variant="x', "a/b\tc; d"]
)
def test_an_unknown_type_is_shown_as_plain_text_or_as_the_default(content_type):
    rendered = readmes.rendered(Description("<b>*words*</b>", content_type)).html

    assert rendered is None or is_harmless(rendered)


@pytest.mark.parametrize(
    ("text", "content_type"),
    [
        pytest.param(">" * 50_000 + "x", MARKDOWN, id="deep quotes", marks=pytest.mark.slow),
        pytest.param(
            "```python\n" + "x = 'a' + \"b\"  # c\n" * 25_000 + "```\n",
            MARKDOWN,
            id="much code",
            marks=pytest.mark.slow,
        ),
        pytest.param("\n".join(" " * depth + "a\n" for depth in range(400)), "text/x-rst", id="deep lists"),
    ],
)
def test_a_description_that_takes_too_long_is_shown_as_plain_text(shown, text, content_type, monkeypatch):
    monkeypatch.setattr(readmes, "PATIENCE_SECONDS", 60)  # the limit on processor time decides, even on a busy machine

    assert shown(text, content_type).find("div").text.strip() == text.strip()


def test_the_beginning_of_a_very_long_description_is_shown_as_text(browser_of, owner, project):
    text = "# Long\n" + "word " * 110_000
    built = build_wheel(description=text, description_content_type=MARKDOWN)

    page = browser_of(owner).get(f"/acme/tools/-/packages/{factories.published(project, built).package_id}")

    assert page.by_class("readme")[0].find("div").text == text[: readmes.LONGEST_BYTES]
    assert "longer than 512 kB" in page.text


@pytest.mark.parametrize(("language", "sentence"), [("en", "is being prepared"), ("ja", "準備しています")])
def test_a_page_does_not_wait_for_its_readme(browser_of, owner, project, busy_helpers, language, sentence):
    built = build_wheel(description=f"# Later {language}", description_content_type=MARKDOWN)
    package_id = factories.published(project, built).package_id
    browser = browser_of(owner)

    page = browser.get(f"/acme/tools/-/packages/{package_id}", headers={"Accept-Language": language})
    busy_helpers.close()

    assert is_pending(page)
    assert sentence in page.text
    assert complete_page(browser, package_id).by_class("readme")[0].find("h3").text == f"Later {language}"


def test_rendering_begins_when_a_file_is_published(twine, project, owner, storage):
    wheel = build_wheel(description="# Published", description_content_type=MARKDOWN)

    response = twine.upload(project, wheel, factories.access_token(owner))

    assert response.status_code == 201
    soon(lambda: [found for found in storage.objects() if is_readme(found.key)], bool)


def test_what_was_rendered_or_failed_is_kept_for_all_processes(storage, project, monkeypatch):
    built = build_wheel(description="# Once", description_content_type=MARKDOWN)
    broken = build_wheel("broken", description=".. raw:: html\n\n  x", description_content_type="")
    digests = [factories.published(project, wheel).core_metadata_sha256 for wheel in (built, broken)]
    first = [shown_soon(Readmes(storage), digest) for digest in digests]
    monkeypatch.setattr(readmes.sys, "executable", "/nowhere")

    assert [Readmes(storage).shown(digest) for digest in digests] == first
    assert "Once" in first[0].html
    assert first[1] == Readme(text=".. raw:: html\n\n  x")


def shown_soon(kept, digest):
    return soon(lambda: kept.shown(digest), lambda readme: readme.remark is not Remark.PENDING)


def test_few_readmes_wait_and_two_helpers_render_them(storage, monkeypatch, busy_helpers):
    monkeypatch.setattr(readmes.sys, "executable", "/bin/true")
    kept = Readmes(storage)

    for number in range(MAX_WAITING + 20):
        kept.begin(Description(f"# {number}", MARKDOWN))
        kept.begin(Description(f"# {number}", MARKDOWN))
    threads = [thread for thread in threading.enumerate() if thread.name == "readmes"]
    busy_helpers.close()
    for thread in threads:
        thread.join()

    assert len(threads) == readmes.HELPERS
    assert MAX_WAITING <= sum(is_readme(found.key) for found in storage.objects()) <= MAX_WAITING + readmes.HELPERS


def test_missing_core_metadata_leaves_the_page_without_a_readme(storage):
    assert Readmes(storage).shown("0" * 64) is None
