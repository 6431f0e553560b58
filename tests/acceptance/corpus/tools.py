"""The tools that build distributions, in the versions that published files show, each with a project of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from tests.acceptance.clients import Environments

NAME = "corpus-demo"
_METADATA = """\
[project]
name = "corpus-demo"
version = "1.0"
description = "Built to be examined"
readme = "README.md"
license = {license}
requires-python = ">=3.7"
keywords = ["corpus", "demo"]
authors = [{{name = "Ada", email = "ada@example.com"}}]
classifiers = ["Programming Language :: Python :: 3"]
dependencies = ["packaging>=20; python_version >= '3.8'"]

[project.optional-dependencies]
more = ["packaging"]

[project.urls]
Homepage = "https://example.com/"
"""
_EXPRESSION, _TEXT, _FILE = '"MIT"', '{text = "MIT"}', '{file = "LICENSE"}'
_SOURCES = {
    "README.md": "# Corpus demo\n\nBuilt to be *examined*, with 日本語 in it.\n",
    "LICENSE": "Permission is hereby granted.\n",
    "corpus_demo/__init__.py": "def main():\n    print('demo')\n",
    "corpus_demo/data, and more/日本.txt": "日本\n",
}
_SETUP_PY = """\
from setuptools import setup
{before}
setup(
    name="corpus-demo", version="1.0", description="Built to be examined", author="Ada", license="MIT",
    author_email="ada@example.com", url="https://example.com/", packages=["corpus_demo"], python_requires=">=3.6",
    long_description=open("README.md", "rb").read().decode("utf-8"), long_description_content_type="text/markdown",
    install_requires=["packaging>=20; python_version >= '3.8'"], extras_require={{"more": ["packaging"]}},
    project_urls={{"Source": "https://example.com/source"}}, classifiers=["Programming Language :: Python :: 3"],
    entry_points={{"console_scripts": ["demo = corpus_demo:main"]}}, package_data={{"corpus_demo": ["*/*.txt"]}},
    {arguments}
)
"""
# As projects do that ship a library for any Python 3 of one platform.
_SUBCLASS = """\
from {module} import bdist_wheel


class Wheel(bdist_wheel):
    def finalize_options(self):
        super().finalize_options()
        self.root_is_pure = False

    def get_tag(self):
        return ("py3", "none", super().get_tag()[2])

"""


@dataclass(frozen=True)
class Tool:
    """A tool that builds, in one version.

    :ivar requirements: what its environment has.
    :ivar files: of the project, by path.
    :ivar backend: the module with the hooks of PEP 517; empty for a tool of the time before, which runs ``setup.py``.
    :ivar python: the Python of the environment; by default the one that runs the tests.
    :ivar programs: what has to be on the machine.
    :ivar twine: the last twine that uploads what the tool builds; later ones refuse it themselves.
    """

    name: str
    requirements: tuple[str, ...]
    files: Mapping[str, str] = field(repr=False)
    backend: str = ""
    python: str | None = None
    programs: tuple[str, ...] = ()
    twine: str = ""

    def __str__(self) -> str:
        return self.name

    def missing_programs(self) -> list[str]:
        return [program for program in self.programs if shutil.which(program) is None]

    def build(self, client_environment: Environments, folder: Path) -> list[Path]:
        """Build the project in a folder; returns a wheel and an sdist."""
        is_current = any("==" not in requirement for requirement in self.requirements)
        python = client_environment(
            f"corpus-{self.name.replace(' ', '-')}", *self.requirements, python=self.python,
            as_of=datetime.now(UTC).date() if is_current else None,
        )  # fmt: skip
        for path, text in (_SOURCES | dict(self.files)).items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, "utf-8")
        if "git" in self.programs:
            _commit(folder)
        search = f"{python.parent}{os.pathsep}{os.environ['PATH']}"  # for programs that a backend calls
        hooks = f"import {self.backend} as backend; backend.build_sdist('dist'); backend.build_wheel('dist')"
        done = subprocess.run(
            [python, *(("-c", hooks) if self.backend else ("setup.py", "-q", "sdist", "bdist_wheel"))],
            cwd=folder, env=os.environ | {"PATH": search}, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        built = sorted((folder / "dist").iterdir())
        assert {path.name.rpartition(".")[2] for path in built} >= {"whl", "gz"}
        return built


def _commit(folder: Path) -> None:
    """Put a project into version control, from which meson takes the files of an sdist."""
    for command in ("init", "add .", "-c user.name=Ada -c user.email=ada@example.com commit -m project"):
        subprocess.run(["git", "-C", folder, *command.split()], capture_output=True, check=True)


def _hatchling(version: str, requirement: str, twine: str = "") -> Tool:
    text = _METADATA.format(license=_EXPRESSION) + '\n[tool.hatch.build.targets.wheel]\npackages = ["corpus_demo"]\n'
    return Tool(f"hatchling {version}", (requirement,), {"pyproject.toml": text}, "hatchling.build", twine=twine)


def _setuptools(
    version: str, *requirements: str, python: str | None = None, module: str = "", backend: str = "", twine: str = "",
) -> Tool:  # fmt: skip
    before = _SUBCLASS.format(module=module) if module else ""
    setup = _SETUP_PY.format(before=before, arguments='cmdclass={"bdist_wheel": Wheel},' if module else "")
    name = f"setuptools {version}" + (" with a class of its own" if module else "")
    return Tool(name, requirements, {"setup.py": setup}, backend, python, twine=twine)


def _declared(
    name: str, requirements: tuple[str, ...], backend: str, licensed: str = _EXPRESSION, rest: str = "",
    files: Mapping[str, str] | None = None, programs: tuple[str, ...] = (),
) -> Tool:  # fmt: skip
    text = _METADATA.format(license=licensed) + rest
    return Tool(name, requirements, {"pyproject.toml": text, **(files or {})}, backend, programs=programs)


_FLIT = """\
[tool.flit.metadata]
module = "corpus_demo"
dist-name = "corpus-demo"
author = "Ada"
author-email = "ada@example.com"
home-page = "https://example.com/"
description-file = "README.md"
classifiers = ["License :: OSI Approved :: MIT License"]
requires-python = ">=3.6,!=3.7.*"
"""
_MODULE = '"""Built to be examined."""\n\n__version__ = "1.0"\n\n\ndef main():\n    print("demo")\n'
_POETRY = """\
[tool.poetry]
name = "corpus-demo"
version = "1.0"
description = "Built to be examined"
authors = ["Ada <ada@example.com>"]
license = "MIT"
readme = "README.md"

[tool.poetry.dependencies]
python = "^3.7"
packaging = "^23"
"""
_EXTENSION = """\
#include <Python.h>
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_demo", NULL, -1, NULL};
PyMODINIT_FUNC PyInit__demo(void) { return PyModule_Create(&module); }
"""
_CMAKE = """\
cmake_minimum_required(VERSION 3.15)
project(demo LANGUAGES C)
find_package(Python REQUIRED COMPONENTS Interpreter Development.Module)
Python_add_library(_demo MODULE demo.c WITH_SOABI)
install(TARGETS _demo DESTINATION corpus_demo)
"""
_MESON = """\
project('corpus-demo', 'c', version: '1.0')
py = import('python').find_installation(pure: false)
py.extension_module('_demo', 'demo.c', subdir: 'corpus_demo', install: true)
py.install_sources('corpus_demo/__init__.py', subdir: 'corpus_demo', pure: false)
"""
_MATURIN = """
[build-system]
requires = ["maturin"]
build-backend = "maturin"

[tool.maturin]
bindings = "bin"
"""
_CARGO = '[package]\nname = "corpus-demo"\nversion = "1.0.0"\nedition = "2021"\n'

TOOLS = (
    _hatchling("1.20", "hatchling==1.20.0", "5.1.1"),
    _hatchling("1.25", "hatchling==1.25.0", "5.1.1"),
    _hatchling("current", "hatchling"),
    _setuptools("38", "setuptools==38.7.0", "wheel==0.37.1", python="3.7"),
    _setuptools("57", "setuptools==57.5.0", "wheel==0.37.1", python="3.10"),
    _setuptools("57 and wheel 0.37", "setuptools==57.5.0", "wheel==0.37.1", python="3.10", module="wheel.bdist_wheel"),
    _setuptools("68", "setuptools==68.2.2", "wheel==0.43.0", backend="setuptools.build_meta"),
    _setuptools("68 and wheel 0.43", "setuptools==68.2.2", "wheel==0.43.0", module="wheel.bdist_wheel"),
    _setuptools("75", "setuptools==75.8.2", backend="setuptools.build_meta"),
    _setuptools("75 and wheel 0.43", "setuptools==75.8.2", "wheel==0.43.0", module="wheel.bdist_wheel", twine="5.1.1"),
    _setuptools("80", "setuptools==80.9.0", backend="setuptools.build_meta"),
    _setuptools("80 and wheel current", "setuptools==80.9.0", "wheel", module="setuptools.command.bdist_wheel"),
    Tool(
        "flit 2.3", ("flit_core==2.3.0",), {"pyproject.toml": _FLIT, "corpus_demo/__init__.py": _MODULE},
        "flit_core.buildapi",
    ),
    _declared("flit 3.9", ("flit_core==3.9.0",), "flit_core.buildapi", _FILE),
    _declared("flit current", ("flit_core",), "flit_core.buildapi"),
    Tool("poetry 1.0", ("poetry-core==1.0.8",), {"pyproject.toml": _POETRY}, "poetry.core.masonry.api"),
    _declared("poetry current", ("poetry-core",), "poetry.core.masonry.api"),
    _declared("pdm 2.1", ("pdm-backend==2.1.8",), "pdm.backend", _TEXT),
    _declared("pdm current", ("pdm-backend",), "pdm.backend"),
    _declared(
        "scikit-build-core", ("scikit-build-core",), "scikit_build_core.build",
        files={"CMakeLists.txt": _CMAKE, "demo.c": _EXTENSION}, programs=("cc", "cmake", "ninja"),
    ),
    _declared(
        "meson-python", ("meson-python", "ninja"), "mesonpy",
        files={"meson.build": _MESON, "demo.c": _EXTENSION}, programs=("cc", "git"),
    ),
    _declared(
        "maturin", ("maturin",), "maturin", rest=_MATURIN,
        files={"Cargo.toml": _CARGO, "src/main.rs": "fn main() {}\n"}, programs=("cargo",),
    ),
)  # fmt: skip
