"""The paths of groups and projects in addresses of pages: they hide no other address, and none hides them."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from werkzeug.exceptions import HTTPException

from registry.domain import namespaces
from registry.domain.namespaces import TOP_LEVEL_RESERVED
from tests.tables import each


@pytest.fixture(scope="session")
def pages(_app):
    """The application as it is for all tests; none of these asks the database."""
    return _app


def endpoint(app, path):
    try:
        return app.url_map.bind("localhost").match(path)
    except HTTPException:
        return None


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/acme", ("ui.namespaces.home", {"namespace": "acme"})),
        ("/acme/inner/tools", ("ui.namespaces.home", {"namespace": "acme/inner/tools"})),
        ("/acme/inner/tools/edit", ("ui.namespaces.project_edit", {"project": "acme/inner/tools"})),
        ("/acme/inner/-/usage_quotas", ("ui.usage.project_usage_quotas", {"project": "acme/inner"})),
        ("/groups/acme/inner/-/usage_quotas", ("ui.usage.group_usage_quotas", {"group": "acme/inner"})),
        ("/groups/new", ("ui.namespaces.new_group", {})),
        ("/groups/newer", ("ui.namespaces.group_by_long_address", {"group": "newer"})),
        ("/apis", ("ui.namespaces.home", {"namespace": "apis"})),
        ("/acme/edit", None),
        ("/acme/-/usage_quotas", None),
        ("/acme//tools", None),
        ("/acme/-tools", None),
        ("/acme/../tools", None),
        ("/.git/config", None),
        ("/robots.txt", None),
        ("/api/v4", None),
        ("/API/v4/projects/1/edit", None),
        ("/static/x/edit", ("static", {"filename": "x/edit"})),
        ("/-/-/usage_quotas", None),
    ],
)
def test_an_address_leads_where_it_should(app, path, expected):
    assert endpoint(app, path) == expected


@each("word", sorted(TOP_LEVEL_RESERVED))
def test_reserved_paths_are_not_groups(app, word):
    found = endpoint(app, f"/{word}")

    assert found is None or found[0] != "ui.namespaces.home"
    assert endpoint(app, f"/{word.upper()}/tools/edit") is None


path_part = st.text("abyz019_.-AZ", min_size=1, max_size=12).filter(
    lambda part: not namespaces.path_errors(part, top_level=True)
)


@given(st.lists(path_part, min_size=1, max_size=4))
@example(["a" * 255])
@example(["_x"])
@example(["api2", "api", "edit.x"])
def test_every_path_the_domain_accepts_has_a_page(pages, parts):
    path = "/".join(parts)

    assert endpoint(pages, f"/{path}") == ("ui.namespaces.home", {"namespace": path})
    assert endpoint(pages, f"/groups/{path}/-/edit") == ("ui.namespaces.group_edit", {"group": path})
    if len(parts) > 1:
        assert endpoint(pages, f"/{path}/edit") == ("ui.namespaces.project_edit", {"project": path})
