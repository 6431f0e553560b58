"""The table of all start-time settings, and the lookup and validation of their values.

A value comes from the first of these that has it: the overrides passed to ``create_app``, the environment
(``REGISTRY_<NAME>``), ``config.py`` in the instance folder (``<NAME>``), the default. Settings that administrators edit
on a page are in ``domain.instance``.
"""

from __future__ import annotations

import os
import re
import runpy
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from registry.addresses import is_host
from registry.domain.issuers import is_issuer
from registry.errors import ConfigurationError

PREFIX = "REGISTRY_"
_SQLITE = "sqlite:///"
_POSTGRESQL = "postgresql://"
_PACKAGE = Path(__file__).resolve().parent
# The folder with ``templates`` and ``static``: the package where it was installed from a wheel, otherwise the checkout.
ROOT = _PACKAGE if (_PACKAGE / "templates").is_dir() else _PACKAGE.parent


@dataclass(frozen=True)
class Setting:
    """One setting. ``parse`` converts text to the typed value, and raises ``ValueError`` if it is invalid."""

    name: str
    default: str | None
    parse: Callable[[str], object]
    accepts: str
    meaning: str

    @property
    def variable(self) -> str:
        return PREFIX + self.name


def load(overrides: Mapping[str, object] | None = None) -> dict[str, Any]:
    """Return the validated value of every setting by name; settings without a value are ``None``.

    :param overrides: values by setting name, as text or already typed.
    :raises ConfigurationError: a value is invalid; the sentence names the variable, the value, and the accepted values.
    """
    overrides = dict(overrides or {})
    unknown = sorted(set(overrides) - {setting.name for setting in SETTINGS})
    if unknown:
        raise ConfigurationError(
            f"{unknown[0]} is not a setting; the settings are {', '.join(s.name for s in SETTINGS)}."
        )
    instance_path = _value(SETTINGS_BY_NAME["INSTANCE_PATH"], overrides, {})
    file_values = _file_values(instance_path / "config.py")
    values = {setting.name: _value(setting, overrides, file_values) for setting in SETTINGS}
    values["INSTANCE_PATH"] = instance_path
    values["STORAGE_URL"] = values["STORAGE_URL"] or (instance_path / "packages").as_uri()
    _refuse_contradictions(values)
    return values


def _refuse_contradictions(values: Mapping[str, Any]) -> None:
    """Check combinations of values.

    :raises ConfigurationError: values that are valid on their own contradict each other.
    """
    if (values["S3_ACCESS_KEY_ID"] is None) != (values["S3_SECRET_ACCESS_KEY"] is None):
        raise ConfigurationError("Set both or neither of REGISTRY_S3_ACCESS_KEY_ID and REGISTRY_S3_SECRET_ACCESS_KEY.")
    _refuse_partial_provider(values)
    if (values["UPSTREAM_USERNAME"] is None) != (values["UPSTREAM_PASSWORD"] is None):
        raise ConfigurationError("Set both or neither of REGISTRY_UPSTREAM_USERNAME and REGISTRY_UPSTREAM_PASSWORD.")
    _refuse_partial_proxy(values)
    _refuse_unsuitable_downloads(values)


def _refuse_partial_provider(values: Mapping[str, Any]) -> None:
    """Check that the settings of the identity provider are complete.

    :raises ConfigurationError: one is missing, or is of no effect without the others.
    """
    required = [f"{PREFIX}{name}" for name in PROVIDER_SETTINGS]
    missing = [f"{PREFIX}{name}" for name in PROVIDER_SETTINGS if values[name] is None]
    if missing and missing != required:
        raise ConfigurationError(
            f"Set all or none of {', '.join(required)} for sign-in by OpenID Connect; missing: {', '.join(missing)}."
        )
    if missing and not values["PASSWORD_SIGN_IN"] and not values["TRUSTED_USER_HEADER"]:
        raise ConfigurationError(
            "REGISTRY_PASSWORD_SIGN_IN is 'false', which requires REGISTRY_OIDC_ISSUER or "
            "REGISTRY_TRUSTED_USER_HEADER: otherwise, no one could sign in."
        )
    if missing and values["OIDC_ADMIN_GROUP"] is not None:
        raise ConfigurationError(
            f"REGISTRY_OIDC_ADMIN_GROUP is {values['OIDC_ADMIN_GROUP']!r}, which requires REGISTRY_OIDC_ISSUER."
        )


def _refuse_partial_proxy(values: Mapping[str, Any]) -> None:
    """Check that settings of trusted proxies are set together with those that they depend on.

    :raises ConfigurationError: one would have no effect, or would trust any client.
    """
    if values["TRUSTED_PROXY_ADDRESSES"] and not values["TRUSTED_PROXIES"]:
        raise ConfigurationError(
            "REGISTRY_TRUSTED_PROXY_ADDRESSES requires REGISTRY_TRUSTED_PROXIES, the number of proxies: otherwise, it "
            "has no effect."
        )
    if values["TRUSTED_USER_HEADER"] and not (values["TRUSTED_PROXIES"] and values["TRUSTED_PROXY_ADDRESSES"]):
        raise ConfigurationError(
            "REGISTRY_TRUSTED_USER_HEADER requires REGISTRY_TRUSTED_PROXIES and REGISTRY_TRUSTED_PROXY_ADDRESSES: "
            "otherwise, any client could send the name of any user."
        )
    networks = _joined(values["TRUSTED_PROXY_ADDRESSES"] or ())
    everyone = [str(network) for network in networks if network.prefixlen == 0]
    if values["TRUSTED_USER_HEADER"] and everyone:
        raise ConfigurationError(
            f"REGISTRY_TRUSTED_PROXY_ADDRESSES includes {everyone[0]}, all addresses, so any client could send the "
            "name of any user in REGISTRY_TRUSTED_USER_HEADER. List only the addresses of the proxies."
        )


def _joined(networks: Iterable[IPv4Network | IPv6Network]) -> list[IPv4Network | IPv6Network]:
    """Return the fewest networks with the same addresses."""
    version4 = [network for network in networks if isinstance(network, IPv4Network)]
    version6 = [network for network in networks if isinstance(network, IPv6Network)]
    return [*collapse_addresses(version4), *collapse_addresses(version6)]


def _refuse_unsuitable_downloads(values: Mapping[str, Any]) -> None:
    """Check that files can be sent in the way that is configured.

    :raises ConfigurationError: the storage or the proxy is not suitable.
    """
    is_folder = values["STORAGE_URL"].startswith("file:")
    if values["STORAGE_DOWNLOADS"] == "accel" and not (is_folder and values["TRUSTED_PROXIES"]):
        raise ConfigurationError(
            "REGISTRY_STORAGE_DOWNLOADS is 'accel', which requires a folder (REGISTRY_STORAGE_URL) and nginx in front "
            "of the registry (REGISTRY_TRUSTED_PROXIES)."
        )
    if values["STORAGE_DOWNLOADS"] != "redirect":
        return
    if is_folder:
        raise ConfigurationError(
            "REGISTRY_STORAGE_DOWNLOADS is 'redirect', which requires an object store; REGISTRY_STORAGE_URL is a "
            "folder."
        )
    own, others = values["EXTERNAL_URL"], values["S3_ENDPOINT"]
    if own and others and urlsplit(own).hostname == urlsplit(others).hostname:
        raise ConfigurationError(
            "REGISTRY_STORAGE_DOWNLOADS is 'redirect'; expected stream, as REGISTRY_S3_ENDPOINT and "
            "REGISTRY_EXTERNAL_URL have the same host: old clients would send their credentials to the store."
        )


def require_instance(values: Mapping[str, Any]) -> None:
    """Check that there is a registry, without creating anything.

    :raises ConfigurationError: its secret key or its SQLite database does not exist.
    """
    folder: Path = values["INSTANCE_PATH"]
    url = values["DATABASE_URL"] or f"{_SQLITE}{folder / 'registry.sqlite3'}"
    has_database = not url.startswith(_SQLITE) or _can_exist(url.removeprefix(_SQLITE).partition("?")[0])
    if values["DATABASE_URL"] and not has_database:
        raise ConfigurationError(
            "The database file (REGISTRY_DATABASE_URL) does not exist; run 'pypi-registry database upgrade' to create "
            "it."
        )
    if not has_database or not (values["SECRET_KEY"] or _can_exist(folder / "secret_key")):
        raise ConfigurationError(
            f"There is no registry in {folder} (REGISTRY_INSTANCE_PATH); start it first, or set the variable to the "
            "folder of a registry."
        )


def _can_exist(path: str | Path) -> bool:
    """Return whether a file is not missing. If the folder is not accessible, its use reports the reason."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def prepare_instance_folder(values: dict[str, Any]) -> None:
    """Create the instance folder, and read ``SECRET_KEY`` from it, generating a key on the first start.

    Sets ``SECRET_KEY_FILE`` to the file with the key, or to ``None`` if the key is configured.

    :raises ConfigurationError: the folder is not usable, or its key is invalid.
    """
    folder: Path = values["INSTANCE_PATH"]
    try:
        folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        values["SECRET_KEY_FILE"] = None if values["SECRET_KEY"] else folder / "secret_key"
        values["SECRET_KEY"] = values["SECRET_KEY"] or _stored_secret_key(folder / "secret_key")
    except OSError as error:
        raise ConfigurationError(
            f"The instance folder {folder} (REGISTRY_INSTANCE_PATH) is not usable: {error.strerror}."
        ) from error


def remove_unused_folder(folder: Path) -> None:
    """Remove an instance folder that has nothing but the files of a start that failed: no database and no package."""
    files = (path for path in folder.rglob("*") if not path.is_dir())
    if all(path.name == "secret_key" or path.suffix == ".upgrade-lock" for path in files):
        shutil.rmtree(folder, ignore_errors=True)


def _stored_secret_key(path: Path) -> str:
    """Return the key in this file, generating it if necessary; processes that start concurrently get the same key."""
    if not path.exists():
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".secret_key-") as file:  # mode 0600
            file.write(secrets.token_hex(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
            with suppress(FileExistsError):
                os.link(file.name, path)  # atomic, so that no process reads a partial key
    try:
        key = path.read_text().strip()
    except UnicodeDecodeError:
        key = ""
    if len(key) < 32:
        raise ConfigurationError(
            f"{path} does not contain a key of at least 32 characters; delete the file to generate a new key."
        )
    return key


def _file_values(path: Path) -> dict[str, object]:
    try:
        values = runpy.run_path(str(path)) if path.is_file() else {}
    except Exception as error:
        raise ConfigurationError(f"{path} cannot be read as Python: {error}.") from error
    return {name: value for name, value in values.items() if name in SETTINGS_BY_NAME}


def _value(setting: Setting, overrides: Mapping[str, object], file_values: Mapping[str, object]) -> Any:
    if setting.name in overrides:
        source, value = setting.name, overrides[setting.name]
    elif os.environ.get(setting.variable):
        source, value = setting.variable, os.environ[setting.variable]
    elif setting.name in file_values:
        source, value = f"{setting.name} in config.py", file_values[setting.name]
    else:
        source, value = setting.name, setting.default
    if value is None:
        value = setting.default
    if value is None:
        return None
    try:
        return setting.parse(str(value))
    except ValueError as error:
        complaint = _complaint(setting, value, error)
        raise ConfigurationError(f"{source} {complaint}; expected {setting.accepts}.") from error


class _Flaw(ValueError):
    """What is wrong with a value, in words that do not repeat it, for settings with secrets."""


def _complaint(setting: Setting, value: object, error: ValueError) -> str:
    if setting.name in SECRET_SETTINGS:
        return str(error) if isinstance(error, _Flaw) else "is set to a value that is not shown here"
    without_credentials = re.sub(r"\A([^@]*?//)?.*@", r"\1[not shown]@", str(value), flags=re.DOTALL)
    return f"is {without_credentials!r}"


def _whole_number(minimum: int, maximum: int | None = None) -> Callable[[str], int]:
    def parse(text: str) -> int:
        number = int(text)
        if number < minimum or (maximum is not None and number > maximum):
            raise ValueError(text)
        return number

    return parse


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(text)
        return text

    return parse


def _true_or_false(text: str) -> bool:
    return _one_of("true", "false")(text.lower()) == "true"


def _text(minimum: int, maximum: int | None = None) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if len(text) < minimum or (maximum is not None and len(text) > maximum):
            raise _Flaw(f"has {len(text)} character{'' if len(text) == 1 else 's'}")
        try:
            text.encode()
        except UnicodeEncodeError as error:  # Python has placeholders for other bytes in the environment
            raise _Flaw("is not in UTF-8") from error
        return text

    return parse


_CONTROL = re.compile(r"[\x00-\x1f\x7f]|%00")  # a NUL ends paths, and parsers of URLs leave the others out


def _database_url(text: str) -> str:
    scheme, _, rest = text.partition("://")
    if not text.startswith((_SQLITE, _POSTGRESQL)):
        is_url = scheme != text and re.fullmatch(r"[a-z0-9+.-]{1,30}", scheme, re.IGNORECASE)
        raise _Flaw(f"begins with '{scheme}://'" if is_url else "is not a URL")
    if text in (_SQLITE, _POSTGRESQL):
        raise _Flaw("names no file" if text == _SQLITE else "names no host and no database")
    if _CONTROL.search(text):
        raise _Flaw("has a control character")
    if rest == "/:memory:":
        raise _Flaw("names a database in memory")  # of which every thread and every process would have its own
    if rest.partition("/")[0].count("@") > 1:
        raise _Flaw("has a user name or password with @, which is %40 in a URL")
    return text


_STORAGE_URL = re.compile(r"file:///.+|(?:s3|gs|az)://[A-Za-z0-9][A-Za-z0-9._-]+(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)*/?")


def _storage_url(text: str) -> str:
    if not _STORAGE_URL.fullmatch(text) or _CONTROL.search(text):
        raise ValueError(text)
    return text


def _folder(text: str) -> Path:
    if not text:
        raise ValueError(text)
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError as error:  # there is no user of the name behind a tilde
        raise ValueError(text) from error


def _user_header(text: str) -> str:
    """Parse the name of a header that has no other meaning, which a proxy sets or removes in every request."""
    if not re.fullmatch(r"(?:X|Remote)-[A-Za-z0-9-]*[A-Za-z0-9]", text, re.IGNORECASE):
        raise ValueError(text)
    if text.lower().startswith("x-forwarded-") and text.lower() != "x-forwarded-user":
        raise ValueError(text)
    return text


def _web_url(text: str) -> str:
    if re.search(r"[\s\x00-\x1f]", text):
        raise ValueError(text)
    parts = urlsplit(text)
    _ = parts.port  # raises ValueError if it is not a number
    is_bare = not (parts.query or parts.fragment or "@" in parts.netloc)
    if parts.scheme not in ("http", "https") or not parts.hostname or not is_bare:
        raise ValueError(text)
    return text.rstrip("/")


def _external_url(text: str) -> str:
    """Parse the external URL, with whose host every link begins."""
    url = _web_url(text)
    if not is_host(urlsplit(url).netloc):
        raise ValueError(text)
    return url


def _networks(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(ip_network(part.strip()) for part in text.split(","))


def _hosts(text: str) -> tuple[str, ...]:
    hosts = tuple(host.strip().lower() for host in text.split(","))
    if not all(map(is_host, hosts)):
        raise ValueError(text)
    return hosts


def _issuer(text: str) -> str:
    if not is_issuer(text, is_listed=True):
        raise ValueError(text)
    return text


def _scopes(text: str) -> str:
    scopes = text.split()
    if "openid" not in scopes or not re.fullmatch(r"[\x21\x23-\x5b\x5d-\x7e ]+", text):  # RFC 6749, section 3.3
        raise ValueError(text)
    return " ".join(scopes)


def _shown_text(text: str) -> str:
    if not text.strip() or len(text) > 100 or not text.isprintable():
        raise ValueError(text)
    return text.strip()


SETTINGS = (
    Setting("HOST", "127.0.0.1", _text(1), "a host name or address", "Address to listen on"),
    Setting("PORT", "8080", _whole_number(0, 65535), "a whole number from 0 to 65535", "Port to listen on"),
    Setting(
        "INSTANCE_PATH",
        "instance" if ROOT == _PACKAGE else str(ROOT / "instance"),  # of the current folder, or of the checkout
        _folder,
        "a folder",
        "Folder for the database, package files, secret key, and credentials file",
    ),
    Setting(
        "DATABASE_URL",
        None,
        _database_url,
        "sqlite:///<file> or postgresql://…",
        "Database; by default a SQLite file in the instance folder",
    ),
    Setting(
        "STORAGE_URL",
        None,
        _storage_url,
        "file:///<folder>, or s3://, gs:// or az:// with <bucket>/<prefix>",
        "Storage of package files; by default a folder in the instance folder",
    ),
    Setting(
        "STORAGE_DOWNLOADS",
        "stream",
        _one_of("stream", "redirect", "accel"),
        "stream, redirect, or accel",
        "Whether files are sent by the registry, by the object store through a signed URL, or by nginx",
    ),
    Setting(
        "S3_ENDPOINT",
        None,
        _web_url,
        "an http:// or https:// URL without credentials or a query",
        "URL of the S3 service; by default AWS",
    ),
    Setting("S3_REGION", None, _text(1), "the name of a region", "Region of the S3 service"),
    Setting("S3_ACCESS_KEY_ID", None, _text(1), "the id of an access key", "Access key for S3"),
    Setting("S3_SECRET_ACCESS_KEY", None, _text(1), "the secret of that access key", "Secret of the access key"),
    Setting(
        "EXTERNAL_URL",
        None,
        _external_url,
        "an http:// or https:// URL without credentials or a query, with a host in ASCII, such as xn--r8jz45g.jp",
        "Scheme, host, and path prefix that clients see; by default taken from the request",
    ),
    Setting(
        "TRUSTED_PROXIES",
        "0",
        _whole_number(0, 10),
        "a whole number from 0 to 10",
        "Number of reverse proxies whose `X-Forwarded-*` headers are trusted",
    ),
    Setting(
        "TRUSTED_PROXY_ADDRESSES",
        None,
        _networks,
        "IP addresses or networks, separated by commas, such as 192.0.2.1 or 10.1.0.0/16",
        "Addresses from which the trusted proxies connect; headers of all other addresses are ignored",
    ),
    Setting(
        "TRUSTED_USER_HEADER",
        None,
        _user_header,
        "the name of a header that begins with X- or Remote-, such as X-Forwarded-User",
        "Header in which the trusted proxies send the name of the user that they have authenticated",
    ),
    Setting(
        "SHARED_CACHES",
        "false",
        _true_or_false,
        "true or false",
        "Whether caches in front of the registry can keep files of public projects for a day",
    ),
    Setting(
        "UPSTREAM_URL",
        "https://pypi.org/simple/",
        _web_url,
        "an http:// or https:// URL without credentials or a query",
        "Simple index that requests are forwarded to",
    ),
    Setting(
        "UPSTREAM_CHECK",
        "true",
        _true_or_false,
        "true or false",
        "Whether requests are answered with 404 while the upstream is known to be away",
    ),
    Setting("UPSTREAM_USERNAME", None, _text(1), "a user name", "User name for that index alone"),
    Setting("UPSTREAM_PASSWORD", None, _text(1), "a password or token", "Password or token for that index alone"),
    Setting(
        "UPSTREAM_FILE_HOSTS",
        None,
        _hosts,
        "host names separated by commas, each with a port unless it is that of the scheme",
        "Hosts that files of that index may have; by default its own and `files.pythonhosted.org`",
    ),
    Setting(
        "UPSTREAM_PAGE_SECONDS",
        "600",
        _whole_number(1, 86400),
        "a whole number of seconds from 1 to 86400",
        "Age from which kept pages of that index are asked for again",
    ),
    Setting(
        "UPSTREAM_CACHE_SIZE",
        str(20 << 30),
        _whole_number(0),
        "a whole number of bytes, 0 to keep none",
        "Largest total of the files of that index that are kept, in bytes",
    ),
    Setting(
        "MAX_FILE_SIZE",
        "5368709120",
        _whole_number(0),
        "a whole number of bytes, 0 for no limit",
        "Largest file accepted, in bytes",
    ),
    Setting(
        "MAX_RECEIVING_SIZE",
        None,
        _whole_number(1),
        "a whole number of bytes from 1",
        "Largest total of uploads that are received at a time, in bytes; by default half of the free disk space",
    ),
    Setting("WORKERS", "1", _whole_number(1, 64), "a whole number from 1 to 64", "Number of worker processes"),
    Setting(
        "MAX_CONNECTIONS",
        "4096",
        _whole_number(1, 1_000_000),
        "a whole number from 1 to 1000000",
        "Number of connections that each process keeps open",
    ),
    Setting(
        "MAX_CONNECTIONS_PER_ADDRESS",
        "256",
        _whole_number(0, 1_000_000),
        "a whole number from 0 to 1000000, 0 for no limit",
        "Number of those from one address that is not a trusted proxy",
    ),
    Setting("THREADS", "8", _whole_number(1, 256), "a whole number from 1 to 256", "Number of threads in each process"),
    Setting(
        "SECRET_KEY",
        None,
        _text(32),
        "a string of at least 32 characters",
        "Signs sessions and keys token digests; by default generated into the instance folder",
    ),
    Setting(
        "ROOT_PASSWORD",
        None,
        _text(8, 128),
        "a string of 8 to 128 characters",
        "Password of the first administrator, used only while the database is empty; generated by default",
    ),
    Setting(
        "ROOT_TOKEN",
        None,
        _text(20),
        "a string of at least 20 characters",
        "First `api` token of that administrator, valid for 30 days, used only while the database is empty; generated "
        "by default at a start in a terminal",
    ),
    Setting(
        "OIDC_ISSUER",
        None,
        _issuer,
        "the https:// URL of an issuer without a query or /.well-known/openid-configuration at its end, or an "
        "http:// one on the loopback address",
        "Identity provider with which users sign in (OpenID Connect)",
    ),
    Setting("OIDC_CLIENT_ID", None, _text(1), "an ID", "ID under which the registry is known to that provider"),
    Setting("OIDC_CLIENT_SECRET", None, _text(1), "a secret", "Secret for that ID"),
    Setting(
        "OIDC_SCOPES",
        "openid profile email",
        _scopes,
        "scopes separated by spaces, with openid among them",
        "Scopes that the provider is asked for",
    ),
    Setting(
        "OIDC_GROUPS_CLAIM",
        "groups",
        _text(1, 255),
        "the name of a claim, with dots in the path to one within others",
        "Claim with the groups of a person",
    ),
    Setting(
        "OIDC_ADMIN_GROUP",
        None,
        _shown_text,
        "1 to 100 printable characters",
        "Group of the provider whose people are administrators here",
    ),
    Setting(
        "OIDC_LABEL",
        "OpenID Connect",
        _shown_text,
        "1 to 100 printable characters",
        "Name of the provider on the button of the sign-in page",
    ),
    Setting(
        "OIDC_CREATE_USERS",
        "true",
        _true_or_false,
        "true or false",
        "Whether a user is created for each person who signs in there; otherwise, users link their accounts themselves",
    ),
    Setting(
        "PASSWORD_SIGN_IN",
        "true",
        _true_or_false,
        "true or false",
        "Whether users can sign in with a password; personal access tokens work in any case",
    ),
    Setting("LOG_FORMAT", "text", _one_of("text", "json"), "text or json", "Format of the log lines"),
    Setting(
        "SLOW_QUERY_MS",
        "500",
        _whole_number(0),
        "a whole number of milliseconds, 0 for never",
        "Duration from which SQL statements are logged",
    ),
)
SETTINGS_BY_NAME = {setting.name: setting for setting in SETTINGS}
PROVIDER_SETTINGS = ("OIDC_ISSUER", "OIDC_CLIENT_ID", "OIDC_CLIENT_SECRET")  # all or none
SECRET_SETTINGS = frozenset(
    {
        "SECRET_KEY",
        "ROOT_PASSWORD",
        "ROOT_TOKEN",
        "DATABASE_URL",
        "S3_SECRET_ACCESS_KEY",
        "UPSTREAM_PASSWORD",
        "OIDC_CLIENT_SECRET",
    }
)
