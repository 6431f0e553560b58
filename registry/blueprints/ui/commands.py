"""Commands and configuration files to install from the registry and publish to it, for users to copy."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

TOKEN = "<your_personal_token>"


@dataclass(frozen=True)
class Installation:
    """The commands to install a package from an index, by client."""

    index_url: str
    pip: str
    uv: str
    poetry: str
    requirements: str


def installation(name: str, version: str, pypi_url: str, *, is_open: bool) -> Installation:
    """Return the commands to install a package.

    :param pypi_url: PyPI endpoint of a project or group.
    :param is_open: whether anyone can pull packages, so that no credentials are needed.
    """
    plain_url = f"{pypi_url}/simple"
    index_url = plain_url if is_open else with_password(plain_url, TOKEN)
    trusted = trusted_host(plain_url)
    poetry = [f"poetry source add --priority=explicit gitlab {plain_url}"]
    if not is_open:
        poetry.append(f'poetry config http-basic.gitlab __token__ "{TOKEN}"')
    poetry.append(f"poetry add --source gitlab {name}")
    # pip expands environment variables (${…}) in requirements files, which are shared, unlike the token.
    shared_url = plain_url if is_open else with_password(plain_url, "${REGISTRY_TOKEN}")
    requirements = [f"--index-url {shared_url}", *([f"--trusted-host {trusted}"] if trusted else [])]
    return Installation(
        index_url=index_url,
        pip=f"pip install {name} --index-url {index_url}" + (f" --trusted-host {trusted}" if trusted else ""),
        uv=f"uv pip install {name} --default-index {index_url}",
        poetry="\n".join(poetry),
        requirements="\n".join([*requirements, f"{name}=={version}"]),
    )


def pypirc(pypi_url: str) -> str:
    """Return the section of ``~/.pypirc`` for a project."""
    return f"[gitlab]\nrepository = {pypi_url}\nusername = __token__\npassword = <your personal access token>\n"


def build() -> str:
    return "python -m pip install build twine\npython -m build"


def publish(pypi_url: str) -> str:
    return (
        f"TWINE_USERNAME=__token__ \\\nTWINE_PASSWORD={TOKEN} \\\n"
        f"python -m twine upload --repository-url {pypi_url} dist/*"
    )


def with_password(url: str, password: str, username: str = "__token__") -> str:
    """Return a URL with credentials or placeholders for them."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{username}:{password}@{rest}"


def trusted_host(url: str) -> str:
    """Return the host for pip's ``--trusted-host``, which a URL without TLS requires; empty for HTTPS and loopback."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "https" or host == "localhost":
        return ""
    try:
        return "" if ipaddress.ip_address(host).is_loopback else host
    except ValueError:  # not an IP address
        return host
