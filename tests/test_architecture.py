"""Rules about the program as a whole: who may import whom (``registry/ARCHITECTURE.md``), and what routes say."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from flask import Flask

from registry.domain.access import Permission

ROOT = Path(__file__).parent.parent
DOMAIN = (
    "domain.access domain.accounts domain.archives domain.audit domain.backup_file domain.backups domain.catalog "
    "domain.cleanup domain.core_metadata domain.distributions domain.downloads domain.first_run domain.forwarding "
    "domain.gate domain.importing domain.moving domain.namespaces domain.paging domain.publishing "
    "domain.readme_worker domain.readmes domain.releases domain.settings domain.sign_in domain.simple domain.sources "
    "domain.table_rows domain.tokens domain.usage domain.verification domain.wheels"
)
SHARED = "models database errors"

# Module or room → what it may import of the registry. What is not listed is not allowed.
MAY_IMPORT = {
    "errors": "",
    "domain.simple": "",
    "migrations": "",
    "metrics": "errors",
    "config": "errors",
    "database": "errors",
    "storage": "errors",
    "server": "errors",
    "domain.archives": "errors",
    "domain.distributions": "errors",
    "domain.core_metadata": "domain.distributions errors",
    "domain.sources": "domain.distributions domain.simple errors",
    "domain.wheels": "domain.archives domain.distributions errors",
    "domain.readme_worker": "",
    "domain.readmes": "domain.core_metadata",
    "domain.gate": ("domain.archives domain.core_metadata domain.distributions domain.readmes domain.wheels errors"),
    "domain.paging": "database",
    "models": "database",
    "domain.audit": "models database",
    "domain.access": SHARED,
    "domain.namespaces": f"domain.access domain.audit domain.paging {SHARED}",
    "domain.tokens": f"domain.access domain.audit domain.paging {SHARED}",
    "domain.settings": f"domain.access domain.audit domain.namespaces {SHARED}",
    "domain.accounts": f"domain.namespaces domain.audit domain.paging {SHARED}",
    "domain.sign_in": f"domain.accounts domain.audit {SHARED}",
    "domain.forwarding": f"domain.settings {SHARED}",
    "domain.downloads": "models database",
    "domain.usage": SHARED,
    "domain.catalog": f"domain.access domain.simple domain.usage {SHARED}",
    "domain.publishing": (
        "domain.access domain.audit domain.catalog domain.core_metadata domain.distributions domain.gate "
        f"domain.namespaces domain.usage storage {SHARED}"
    ),
    "domain.releases": f"domain.access domain.audit domain.catalog domain.namespaces {SHARED}",
    "domain.importing": (
        "domain.access domain.audit domain.catalog domain.distributions domain.publishing domain.releases "
        f"domain.sources storage {SHARED}"
    ),
    "domain.cleanup": f"storage {SHARED}",
    "domain.moving": f"storage {SHARED}",
    "domain.verification": f"domain.cleanup domain.usage storage {SHARED}",
    "domain.table_rows": "",
    "domain.backup_file": "errors",
    "domain.backups": f"domain.backup_file domain.table_rows domain.verification storage {SHARED}",
    "domain.first_run": "domain.access domain.accounts domain.tokens models database",
    "blueprints.routing": "domain.namespaces",
    "blueprints.auth": f"blueprints.routing metrics {DOMAIN} {SHARED}",
    "blueprints.pypi": f"blueprints.auth blueprints.routing metrics {DOMAIN} storage {SHARED}",
    "blueprints.api": f"blueprints.auth blueprints.routing {DOMAIN} storage {SHARED}",
    "blueprints.ui": f"blueprints.auth blueprints.routing {DOMAIN} storage {SHARED}",
    "blueprints.monitoring": f"blueprints.auth metrics {DOMAIN} errors",
    "blueprints": "",
    "domain": "",
    "observability": "metrics database storage errors",
    "cli": f"{DOMAIN} storage {SHARED}",
}

# Package from elsewhere → where it may be imported.
BLUEPRINTS = "blueprints.auth blueprints.pypi blueprints.api blueprints.ui blueprints.monitoring"
THIRD_PARTY = {
    "alembic": "database migrations",
    "argon2": "domain.accounts",
    "babel": "blueprints.ui",
    "click": "cli",
    "flask": f"{BLUEPRINTS} cli observability server registry",
    "flask_babel": "blueprints.auth blueprints.ui",
    "flask_login": "blueprints.auth",
    "flask_sqlalchemy": "database",
    "flask_wtf": "blueprints.auth blueprints.ui",
    "markupsafe": "blueprints.ui",
    "nh3": "domain.readme_worker",
    "obstore": "storage",
    "packaging": (
        "domain.catalog domain.core_metadata domain.distributions domain.forwarding domain.gate domain.importing "
        "domain.publishing domain.sources domain.wheels blueprints.pypi"
    ),
    "prometheus_client": "metrics",
    "readme_renderer": "domain.readme_worker",
    "requests": "domain.sources",
    "sqlalchemy": f"database models {DOMAIN} migrations {BLUEPRINTS} cli metrics observability registry",
    "urllib3": "domain.sources",
    "waitress": "server",
    "werkzeug": f"{BLUEPRINTS} blueprints.routing observability registry",
    "wtforms": "blueprints.auth blueprints.ui",
}
# Above the domain nobody asks the database: what is left of SQLAlchemy is the error that says that it does not answer,
# the probe that finds out, and the engine as an argument of what is answered in front of Flask.
ABOVE_THE_DOMAIN = set(BLUEPRINTS.split()) | {"observability", "registry"}
LEFT_OF_SQLALCHEMY = {
    "sqlalchemy.Engine",
    "sqlalchemy.exc.DBAPIError",
    "sqlalchemy.exc.OperationalError",
    "sqlalchemy.exc.SQLAlchemyError",
    "sqlalchemy.text",
}


def _module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


TREES = {_module_name(path): ast.parse(path.read_text()) for path in sorted((ROOT / "registry").rglob("*.py"))}


def imports(body: list[ast.stmt], *, within_functions: bool) -> Iterator[str]:
    """Full names of what is imported, for type checking only left out; of ``from a import b`` it is ``a.b``."""
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
    for name in imports(TREES[module].body, within_functions=within_functions):
        if name.split(".")[0] == "registry":
            while name not in TREES:
                name = name.rpartition(".")[0]
            found.add(name)
    return found


def third_party_imports(module: str) -> set[tuple[str, str]]:
    """(package, full name) of what a module imports from elsewhere."""
    names = imports(TREES[module].body, within_functions=True)
    tops = {(name.split(".")[0], name) for name in names}
    return {(top, name) for top, name in tops if top != "registry" and top not in sys.stdlib_module_names}


def room(module: str) -> str:
    """The longest entry of the table that the module is, or lies in; the factory is ``registry``."""
    name = module.removeprefix("registry").removeprefix(".")
    while name not in MAY_IMPORT and name:
        name = name.rpartition(".")[0]
    return name or "registry"


def modules_of_rooms() -> list[str]:
    return [module for module in TREES if module != "registry"]


@pytest.mark.parametrize("module", modules_of_rooms())
def test_a_module_imports_only_what_the_table_allows(module: str) -> None:
    imported = {room(name) for name in own_imports(module)} - {room(module)}

    assert imported <= set(MAY_IMPORT[room(module)].split())


def test_the_table_names_only_what_there_is() -> None:
    rooms = {room(module) for module in modules_of_rooms()}
    named = {name for allowed in MAY_IMPORT.values() for name in allowed.split()}

    assert set(MAY_IMPORT) == rooms
    assert named <= rooms


def test_the_map_for_readers_tells_the_same() -> None:
    text = (ROOT / "registry" / "ARCHITECTURE.md").read_text().partition("| may import from registry |")[2]
    rows = [row.split("|")[1:3] for row in text.partition("\n\n")[0].splitlines() if row.startswith("| `")]

    told = {
        module: set(" ".join(re.findall(r"`([\w.*]+)`", allowed)).replace("domain.*", DOMAIN).split())
        for modules, allowed in rows
        for module in re.findall(r"`([\w./]+)`", modules)
    }
    told.pop("registry/__init__")
    assert told == {module: set(allowed.split()) for module, allowed in MAY_IMPORT.items()}


def test_rooms_import_each_other_in_one_direction() -> None:
    order = list(TopologicalSorter({name: allowed.split() for name, allowed in MAY_IMPORT.items()}).static_order())

    assert order.index("models") < order.index("domain.access") < order.index("blueprints.pypi")


def test_modules_import_each_other_in_one_direction() -> None:
    graph = {module: own_imports(module, within_functions=False) - {module} for module in TREES}

    assert list(TopologicalSorter(graph).static_order())[-1] == "registry"


@pytest.mark.parametrize("module", TREES)
def test_what_comes_from_elsewhere_is_used_where_it_belongs(module: str) -> None:
    for package, name in third_party_imports(module):
        assert package in THIRD_PARTY, f"{package} stands in no row of the table"
        assert room(module) in THIRD_PARTY[package].split(), f"{module} imports {name}"
        if package == "sqlalchemy" and room(module) in ABOVE_THE_DOMAIN:
            assert name in LEFT_OF_SQLALCHEMY, f"{module} imports {name}"


@pytest.mark.parametrize("name", ["domain", "models", "storage"])
def test_flask_stops_at_the_door(name: str) -> None:
    within = [module for module in TREES if module.startswith(f"registry.{name}")]

    found = {module for module in within for package, _ in third_party_imports(module) if "flask" in package}

    assert len(within) > 1
    assert found == set()


@pytest.mark.parametrize("module", TREES)
def test_a_module_says_what_it_knows(module: str) -> None:
    assert ast.get_docstring(TREES[module])


# Routes ---------------------------------------------------------------------------------------------------------


def test_every_route_says_which_permission_it_asks_for(app: Flask) -> None:
    views = {rule.endpoint: app.view_functions[rule.endpoint] for rule in app.url_map.iter_rules()}

    unsaid = {endpoint for endpoint, view in views.items() if not hasattr(view, "permission")}

    assert unsaid <= {"static"}
    asked = {view.permission for endpoint, view in views.items() if endpoint not in unsaid}
    assert asked <= {None, *Permission}


def test_no_address_in_a_project_or_group_is_open_to_anybody(app: Flask) -> None:
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
