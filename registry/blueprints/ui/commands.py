"""Commands and configuration files to install from the registry and publish to it, for users to copy."""

from __future__ import annotations

import ipaddress
import shlex
from dataclasses import dataclass
from urllib.parse import urlsplit

TOKEN = "<your_personal_token>"
VARIABLE = "REGISTRY_TOKEN"


@dataclass(frozen=True)
class Installation:
    """The commands to install a package from an index, by client, with the secret in ``$REGISTRY_TOKEN``.

    :ivar is_open: whether no secret is needed.
    :ivar pip_with_token: the same as ``pip``, with a placeholder for the secret; empty if none is needed.
    """

    index_url: str
    is_open: bool
    pip: str
    pip_with_token: str
    uv: str
    poetry: str
    pdm_source: str
    pdm: str
    requirements: str


def installation(name: str, version: str, pypi_url: str, *, is_open: bool, is_pinned: bool) -> Installation:
    """Return the commands to install a package.

    :param pypi_url: PyPI endpoint of a project or group.
    :param is_open: whether anyone can pull packages, so that no credentials are needed.
    :param is_pinned: whether the commands ask for exactly this version.
    """
    plain_url = f"{pypi_url}/simple"
    index_url = plain_url if is_open else f'"{with_password(plain_url, f"${VARIABLE}")}"'
    # pip and PDM expand environment variables (${…}) in files, which are shared, unlike the token.
    shared_url = plain_url if is_open else with_password(plain_url, f"${{{VARIABLE}}}")
    trusted = trusted_host(plain_url)
    trusting = f" --trusted-host {trusted}" if trusted else ""
    wanted = shlex.quote(f"{name}=={version}" if is_pinned else name)
    poetry = [f"poetry source add gitlab {plain_url}"]
    if not is_open:
        poetry.append(f'poetry config http-basic.gitlab __token__ "${VARIABLE}"')
    poetry.append(f"poetry add --source gitlab {wanted}")
    requirements = [f"--index-url {shared_url}", *([f"--trusted-host {trusted}"] if trusted else [])]
    return Installation(
        index_url=plain_url,
        is_open=is_open,
        pip=f"pip install {wanted} --index-url {index_url}{trusting}",
        pip_with_token="" if is_open else install(wanted, pypi_url, TOKEN),
        uv=f"uv pip install {wanted} --default-index {index_url}",
        poetry="\n".join(poetry),
        pdm_source=f'[[tool.pdm.source]]\nname = "pypi"\nurl = "{shared_url}"\nverify_ssl = true',
        pdm=f"pdm add {wanted}",
        requirements="\n".join([*requirements, f"{name}=={version}"]),
    )


def install(wanted: str, pypi_url: str, secret: str, username: str = "__token__") -> str:
    """Return the command to install from an index with credentials or placeholders for them."""
    plain_url = f"{pypi_url}/simple"
    trusted = trusted_host(plain_url)
    trusting = f" --trusted-host {trusted}" if trusted else ""
    return f"pip install {wanted} --index-url {with_password(plain_url, secret, username)}{trusting}"


def set_token(secret: str = TOKEN) -> str:
    """Return the command that sets the variable with the secret."""
    return f"export {VARIABLE}='{secret}'"


def pypirc(pypi_url: str) -> str:
    """Return a ``~/.pypirc`` for a project."""
    return (
        "[distutils]\nindex-servers =\n    gitlab\n\n"
        f"[gitlab]\nrepository = {pypi_url}\nusername = __token__\npassword = {TOKEN}\n"
    )


def build() -> str:
    return "python -m pip install build twine\npython -m build"


def publish(pypi_url: str, secret: str = TOKEN, username: str = "__token__") -> str:
    return (
        f"TWINE_USERNAME={username} \\\nTWINE_PASSWORD={secret} \\\n"
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
