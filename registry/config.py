"""Every start-time setting as one table, and how its value is found and checked.

A value comes from, in this order: what the caller of ``create_app`` overrides, the environment
(``REGISTRY_<NAME>``), ``config.py`` in the instance folder (``<NAME>``), the default.
What an administrator edits on a page is not here but in ``domain.settings``.
"""

from __future__ import annotations

import os
import re
import runpy
import secrets
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from registry.errors import ConfigurationError

PREFIX = "REGISTRY_"
ROOT = Path(__file__).resolve().parent.parent
_HOST = re.compile(r"(?:[a-z0-9.-]+|\[[a-f0-9]*:[a-f0-9.:]+\])(?::[1-9][0-9]{,4})?", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True)
class Setting:
    """One setting. ``parse`` turns text into the typed value and raises ``ValueError`` when it cannot."""

    name: str
    default: str | None
    parse: Callable[[str], Any]
    accepts: str
    meaning: str

    @property
    def variable(self) -> str:
        return PREFIX + self.name


def load(overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The checked value of every setting, by name; what has no value is ``None``.

    :param overrides: values by setting name, as text or already typed.
    :raises ConfigurationError: a value is not accepted; the sentence names variable, value and what is.
    """
    overrides = dict(overrides or {})
    unknown = sorted(set(overrides) - {setting.name for setting in SETTINGS})
    if unknown:
        raise ConfigurationError(f"{unknown[0]} is not a setting; known are {', '.join(s.name for s in SETTINGS)}.")
    instance_path = _value(SETTINGS_BY_NAME["INSTANCE_PATH"], overrides, {})
    file_values = _file_values(instance_path / "config.py")
    values = {setting.name: _value(setting, overrides, file_values) for setting in SETTINGS}
    values["INSTANCE_PATH"] = instance_path
    values["STORAGE_URL"] = values["STORAGE_URL"] or (instance_path / "packages").as_uri()
    _refuse_contradictions(values)
    return values


def _refuse_contradictions(values: Mapping[str, Any]) -> None:
    """:raises ConfigurationError: values that are accepted one by one do not go together."""
    if (values["S3_ACCESS_KEY_ID"] is None) != (values["S3_SECRET_ACCESS_KEY"] is None):
        raise ConfigurationError("REGISTRY_S3_ACCESS_KEY_ID and REGISTRY_S3_SECRET_ACCESS_KEY are set together or not.")
    is_folder = values["STORAGE_URL"].startswith("file:")
    if values["STORAGE_DOWNLOADS"] == "accel" and not (is_folder and values["TRUSTED_PROXIES"]):
        raise ConfigurationError(
            "REGISTRY_STORAGE_DOWNLOADS is 'accel'; that takes a folder (REGISTRY_STORAGE_URL) and nginx in front "
            "of the registry (REGISTRY_TRUSTED_PROXIES)."
        )
    if values["STORAGE_DOWNLOADS"] != "redirect":
        return
    if is_folder:
        raise ConfigurationError(
            "REGISTRY_STORAGE_DOWNLOADS is 'redirect'; files of a folder (REGISTRY_STORAGE_URL) can only be streamed."
        )
    own, others = values["EXTERNAL_URL"], values["S3_ENDPOINT"]
    if own and others and urlsplit(own).hostname == urlsplit(others).hostname:
        raise ConfigurationError(
            "REGISTRY_STORAGE_DOWNLOADS is 'redirect'; accepted is stream, as REGISTRY_S3_ENDPOINT and "
            "REGISTRY_EXTERNAL_URL are on one host: old clients would send their credentials along."
        )


def prepare_instance_folder(values: dict[str, Any]) -> None:
    """Make the instance folder, and fill in ``SECRET_KEY`` from it, making the key on the first start.

    ``SECRET_KEY_FILE`` is then where the key was found, or ``None`` when it is a setting.

    :raises ConfigurationError: the folder cannot be used, or the key in it is none.
    """
    folder: Path = values["INSTANCE_PATH"]
    try:
        folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        values["SECRET_KEY_FILE"] = None if values["SECRET_KEY"] else folder / "secret_key"
        values["SECRET_KEY"] = values["SECRET_KEY"] or _kept_secret_key(folder / "secret_key")
    except OSError as error:
        raise ConfigurationError(
            f"The instance folder {folder} (REGISTRY_INSTANCE_PATH) cannot be used: {error.strerror}."
        ) from error


def _kept_secret_key(path: Path) -> str:
    """The key in this file. Of several processes that start at once on an empty folder, one makes it for all."""
    if not path.exists():
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".secret_key-") as file:  # mode 0600
            file.write(secrets.token_hex(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
            with suppress(FileExistsError):
                os.link(file.name, path)  # whole at once: nobody reads half a key
    key = path.read_text().strip()
    if len(key) < 32:
        raise ConfigurationError(f"{path} holds no key of at least 32 characters; delete it to have a new one made.")
    return key


def _file_values(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return {name: value for name, value in runpy.run_path(str(path)).items() if name in SETTINGS_BY_NAME}
    except Exception as error:
        raise ConfigurationError(f"{path} cannot be read as Python: {error}.") from error


def _value(setting: Setting, overrides: Mapping[str, Any], file_values: Mapping[str, Any]) -> Any:
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
        raise ConfigurationError(f"{source} is {_shown(setting, value)}; accepted is {setting.accepts}.") from error


def _shown(setting: Setting, value: object) -> str:
    return "set to a value that is not shown here" if setting.name in SECRET_SETTINGS else repr(str(value))


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


def _text(minimum: int, maximum: int | None = None) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if len(text) < minimum or (maximum is not None and len(text) > maximum):
            raise ValueError("too short or too long")
        return text

    return parse


def _starting_with(*prefixes: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if not text.startswith(prefixes) or text in prefixes:
            raise ValueError(text)
        return text

    return parse


def _database_address(text: str) -> str:
    if text == "sqlite:///:memory:":
        raise ValueError(text)  # every thread and every process would have its own
    return _starting_with("sqlite:///", "postgresql://")(text)


_STORAGE_ADDRESS = re.compile(
    r"file:///.+|(?:s3|gs|az)://[A-Za-z0-9][A-Za-z0-9._-]+(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)*/?"
)


def _storage_address(text: str) -> str:
    if not _STORAGE_ADDRESS.fullmatch(text):
        raise ValueError(text)
    return text


def _folder(text: str) -> Path:
    if not text:
        raise ValueError(text)
    return Path(text).expanduser().absolute()


def _web_address(text: str) -> str:
    if re.search(r"[\s\x00-\x1f]", text):
        raise ValueError(text)
    parts = urlsplit(text)
    _ = parts.port  # raises ValueError when it is no number
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise ValueError(text)
    return text.rstrip("/")


def _external_address(text: str) -> str:
    """Werkzeug refuses every request for another host."""
    address = _web_address(text)
    if not _HOST.fullmatch(urlsplit(address).netloc):
        raise ValueError(text)
    return address


SETTINGS = (
    Setting("HOST", "127.0.0.1", _text(1), "a host name or address", "Address to listen on"),
    Setting("PORT", "8080", _whole_number(0, 65535), "a whole number from 0 to 65535", "Port to listen on"),
    Setting(
        "INSTANCE_PATH",
        str(ROOT / "instance"),
        _folder,
        "a folder",
        "Folder for database, files, secret key and credentials file",
    ),
    Setting(
        "DATABASE_URL",
        None,
        _database_address,
        "sqlite:///<file> or postgresql://…",
        "Database; by default a SQLite file in the instance folder",
    ),
    Setting(
        "STORAGE_URL",
        None,
        _storage_address,
        "file:///<folder>, or s3://, gs:// or az:// with <bucket>/<prefix>",
        "Where package files are kept; by default a folder in the instance folder",
    ),
    Setting(
        "STORAGE_DOWNLOADS",
        "stream",
        _one_of("stream", "redirect", "accel"),
        "stream, redirect or accel",
        "Whether files come through the registry, from the object store at a signed address, or from nginx",
    ),
    Setting(
        "S3_ENDPOINT",
        None,
        _web_address,
        "an http:// or https:// address without query",
        "Address of the S3 service; by default that of AWS",
    ),
    Setting("S3_REGION", None, _text(1), "the name of a region", "Region of the S3 service"),
    Setting("S3_ACCESS_KEY_ID", None, _text(1), "the id of an access key", "Access key for S3"),
    Setting("S3_SECRET_ACCESS_KEY", None, _text(1), "the secret of that access key", "Its secret"),
    Setting(
        "EXTERNAL_URL",
        None,
        _external_address,
        "an http:// or https:// address without query, its host of letters, digits, dots and dashes",
        "Scheme, host and sub-path that clients see; by default taken from the request",
    ),
    Setting(
        "TRUSTED_PROXIES",
        "0",
        _whole_number(0, 10),
        "a whole number from 0 to 10",
        "Number of reverse proxies whose `X-Forwarded-*` headers are believed",
    ),
    Setting(
        "UPSTREAM_URL",
        "https://pypi.org/simple/",
        _web_address,
        "an http:// or https:// address without query",
        "Simple index that requests are forwarded to",
    ),
    Setting(
        "MAX_FILE_SIZE",
        "5368709120",
        _whole_number(0),
        "a whole number of bytes, 0 for no limit",
        "Largest file accepted, in bytes",
    ),
    Setting("WORKERS", "1", _whole_number(1, 64), "a whole number from 1 to 64", "Processes that answer requests"),
    Setting("THREADS", "8", _whole_number(1, 256), "a whole number from 1 to 256", "Threads in each of them"),
    Setting(
        "SECRET_KEY",
        None,
        _text(32),
        "a text of at least 32 characters",
        "Signs sessions and keys token digests; by default generated into the instance folder",
    ),
    Setting(
        "ROOT_PASSWORD",
        None,
        _text(8, 128),
        "a text of 8 to 128 characters",
        "Password of the first administrator, used only while the database is empty; generated by default",
    ),
    Setting(
        "ROOT_TOKEN",
        None,
        _text(20),
        "a text of at least 20 characters",
        "First `api` token of that administrator, used only while the database is empty; generated by default",
    ),
    Setting("LOG_FORMAT", "text", _one_of("text", "json"), "text or json", "Form of the log lines"),
    Setting(
        "SLOW_QUERY_MS",
        "500",
        _whole_number(0),
        "a whole number of milliseconds, 0 for never",
        "Statements that take at least so long are logged",
    ),
)
SETTINGS_BY_NAME = {setting.name: setting for setting in SETTINGS}
SECRET_SETTINGS = frozenset({"SECRET_KEY", "ROOT_PASSWORD", "ROOT_TOKEN", "DATABASE_URL", "S3_SECRET_ACCESS_KEY"})
