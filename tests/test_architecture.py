"""Rules about the program as a whole: allowed imports (``registry/ARCHITECTURE.md``), and permissions of routes."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter

import pytest
from flask import Flask

from registry.domain.access import Permission
from tests.source import ROOT, trees


def _rows(heading: str) -> list[tuple[list[str], list[str]]]:
    """The names in the two columns of each row of a table of the map for readers."""
    text = (ROOT / "registry" / "ARCHITECTURE.md").read_text().partition(f"{heading} |\n")[2].partition("\n\n")[0]
    cells = [row.split("|")[1:3] for row in text.splitlines() if row.startswith("| `")]
    assert cells, f"no table with the heading {heading}"
    return [(re.findall(r"`([\w./]+)`", left), re.findall(r"`([\w.*]+)`", right)) for left, right in cells]


def _may_import() -> dict[str, set[str]]:
    rows = {part: allowed for parts, allowed in _rows("| may import from registry") for part in parts}
    assert rows.pop("factory") == rows.pop("program") == rows.pop("__main__") == []  # they know all
    domain = {part for part in rows if part.startswith("domain.")}
    return {
        part: {*allowed} - {"domain.*"} | (domain if "domain.*" in allowed else set()) for part, allowed in rows.items()
    }


# Part of the registry → the parts it can import, and package → its modules in order.
MAY_IMPORT = _may_import()
ORDER = {package: modules for (package,), modules in _rows("| its modules")}
DOMAIN = " ".join(sorted(part for part in MAY_IMPORT if part.startswith("domain.")))

# Package from elsewhere → where it may be imported.
BLUEPRINTS = "blueprints.auth blueprints.pypi blueprints.api blueprints.ui blueprints.oidc blueprints.monitoring"
THIRD_PARTY = {
    "alembic": "database migrations",
    "argon2": "domain.accounts",
    "authlib": "domain.single_sign_on",
    "babel": "blueprints.ui",
    "click": "cli registry",
    "cryptography": "domain.accounts",
    "cvss": "domain.advisories",
    "flask": f"{BLUEPRINTS} blueprints.cross_origin cli observability probes server registry",
    "flask_babel": "blueprints.auth blueprints.ui",
    "flask_login": "blueprints.auth",
    "flask_sqlalchemy": "database",
    "flask_wtf": "blueprints.auth blueprints.ui",
    "jinja2": "blueprints.ui",
    "joserfc": "domain.oidc domain.single_sign_on",
    "markupsafe": "blueprints.ui",
    "nh3": "domain.distributions",
    "obstore": "storage",
    "orjson": "domain.advisories domain.packages domain.upstream",
    "packaging": (
        "domain.advisories domain.distributions domain.explaining domain.forwarding domain.importing domain.listings "
        "domain.oidc domain.packages domain.patterns domain.upstream migrations blueprints.pypi blueprints.ui "
        "blueprints.api"
    ),
    "prometheus_client": "metrics",
    "pyotp": "domain.accounts",
    "readme_renderer": "domain.distributions",
    "requests": "domain.http domain.importing domain.upstream",
    "segno": "blueprints.ui",
    "sqlalchemy": f"database models {DOMAIN} migrations {BLUEPRINTS} cli metrics observability probes registry",
    "trove_classifiers": "domain.distributions",
    "urllib3": "domain.http",
    "waitress": "server",
    "webauthn": "domain.accounts",
    "werkzeug": f"{BLUEPRINTS} blueprints.cross_origin blueprints.routing observability registry",
    "wtforms": "blueprints.auth blueprints.ui",
}
# Nothing above the domain queries the database. It uses only SQLAlchemy's error for a database that does not answer,
# the probe that detects it, and the engine as an argument of the code in front of Flask.
ABOVE_THE_DOMAIN = set(BLUEPRINTS.split()) | {"observability", "probes", "registry"}
LEFT_OF_SQLALCHEMY = {
    "sqlalchemy.Engine",
    "sqlalchemy.exc.DBAPIError",
    "sqlalchemy.exc.OperationalError",
    "sqlalchemy.exc.SQLAlchemyError",
    "sqlalchemy.text",
}


def imports(body: list[ast.stmt], *, within_functions: bool) -> Iterator[str]:
    """Full names of imports, except those for type checking; of ``from a import b`` it is ``a.b``."""
    for node in body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        elif within_functions or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for name in ("body", "orelse", "handlers", "finalbody"):
                yield from imports(getattr(node, name, []), within_functions=within_functions)


def own_imports(module: str, *, within_functions: bool = True) -> set[str]:
    """The modules of the registry that a module imports."""
    found = set()
    for name in imports(trees()[module].body, within_functions=within_functions):
        if name.split(".")[0] == "registry":
            while name not in trees():
                name = name.rpartition(".")[0]
            found.add(name)
    return found


def third_party_imports(module: str) -> set[tuple[str, str]]:
    """(package, full name) of a module's imports from elsewhere."""
    names = imports(trees()[module].body, within_functions=True)
    tops = {(name.split(".")[0], name) for name in names}
    return {(top, name) for top, name in tops if top != "registry" and top not in sys.stdlib_module_names}


def table_entry(module: str) -> str:
    """The longest entry of the table that is, or contains, the module; ``registry`` for modules that can import all."""
    name = module.removeprefix("registry").removeprefix(".")
    while name not in MAY_IMPORT and name:
        name = name.rpartition(".")[0]
    return name or "registry"


def restricted_modules() -> list[str]:
    return [module for module in trees() if table_entry(module) != "registry"]


def test_a_module_imports_only_what_the_table_allows() -> None:
    for module in restricted_modules():
        imported = {table_entry(name) for name in own_imports(module)} - {table_entry(module)}

        assert imported <= MAY_IMPORT[table_entry(module)], module


def test_the_table_names_only_existing_modules() -> None:
    entries = {table_entry(module) for module in restricted_modules()}
    named = {name for allowed in MAY_IMPORT.values() for name in allowed}

    assert set(MAY_IMPORT) == entries
    assert named <= entries


@pytest.mark.parametrize("package", ORDER)
def test_a_module_imports_only_those_before_it_in_its_package(package: str) -> None:
    prefix = f"registry.{package}."
    modules = [module for module in trees() if module.startswith(prefix)]

    assert sorted(ORDER[package]) == sorted(module.removeprefix(prefix) for module in modules)
    for module in modules:
        imported = {name.removeprefix(prefix) for name in own_imports(module) if name.startswith(prefix)}
        before = ORDER[package][: ORDER[package].index(module.removeprefix(prefix))]
        assert imported <= set(before), module
        assert prefix.rstrip(".") not in own_imports(module), f"{module} imports the package that lists it"


def test_entries_of_the_table_import_each_other_in_one_direction() -> None:
    order = list(TopologicalSorter(MAY_IMPORT).static_order())

    assert order.index("models") < order.index("domain.access") < order.index("blueprints.pypi")


def test_modules_import_each_other_in_one_direction() -> None:
    graph = {module: own_imports(module, within_functions=False) - {module} for module in trees()}

    order = list(TopologicalSorter(graph).static_order())

    assert order.index("registry.database") < order.index("registry.factory") < order.index("registry.program")


def test_a_third_party_package_is_imported_only_where_it_belongs() -> None:
    imported = [(module, *names) for module in trees() for names in third_party_imports(module)]

    assert {package for _, package, _ in imported} == set(THIRD_PARTY)
    for module, package, name in imported:
        assert table_entry(module) in THIRD_PARTY[package].split(), f"{module} imports {name}"
        if package == "sqlalchemy" and table_entry(module) in ABOVE_THE_DOMAIN:
            assert name in LEFT_OF_SQLALCHEMY, f"{module} imports {name}"


@pytest.mark.parametrize("name", ["domain", "models", "storage"])
def test_flask_is_not_imported_below_the_blueprints(name: str) -> None:
    within = [module for module in trees() if module.startswith(f"registry.{name}")]

    found = {module for module in within for package, _ in third_party_imports(module) if "flask" in package}

    assert len(within) > 1
    assert found == set()


def test_no_link_begins_with_an_address_of_werkzeug() -> None:
    """They are in Unicode, and without a host that has an underscore; ``registry.addresses`` makes others."""
    names = {"root_url", "url_root", "host_url", "base_url", "url", "host"}
    above = [module for module in trees() if any(package == "flask" for package, _ in third_party_imports(module))]

    assert {
        module
        for module in above
        for node in ast.walk(trees()[module])
        if (isinstance(node, ast.Attribute) and node.attr in names and ast.unparse(node.value) == "request")
        or (isinstance(node, ast.keyword) and node.arg == "_external")
    } == set()


def test_no_module_interns_strings() -> None:
    """Python 3.12 never frees them, so that clients could fill the memory with different ones."""
    assert {
        module
        for module, tree in trees().items()
        for node in ast.walk(tree)
        if (isinstance(node, ast.alias) and node.name == "intern")
        or (isinstance(node, ast.Attribute) and node.attr == "intern")
    } == set()


def test_every_module_has_a_docstring() -> None:
    assert [module for module, tree in trees().items() if not ast.get_docstring(tree)] == []


def test_every_route_declares_its_permission(app: Flask) -> None:
    views = {rule.endpoint: app.view_functions[rule.endpoint] for rule in app.url_map.iter_rules()}

    unsaid = {endpoint for endpoint, view in views.items() if not hasattr(view, "permission")}

    assert unsaid <= {"static"}
    asked = {view.permission for endpoint, view in views.items() if endpoint not in unsaid}
    assert asked <= {None, *Permission}


def test_no_address_in_a_project_or_group_is_without_permission(app: Flask) -> None:
    within = [rule for rule in app.url_map.iter_rules() if {"project", "group"} & rule.arguments]

    is_open = {rule.rule for rule in within if getattr(app.view_functions[rule.endpoint], "permission", None) is None}

    assert within
    assert is_open == set()


def test_an_address_is_answered_by_one_view(app: Flask) -> None:
    answered: dict[tuple[str, str], set[str]] = {}
    for rule in app.url_map.iter_rules():
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            answered.setdefault((rule.rule, method), set()).add(rule.endpoint)

    assert {address: views for address, views in answered.items() if len(views) > 1} == {}
