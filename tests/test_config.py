from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_network
from pathlib import Path

import pytest

from registry import config, create_app, database
from registry.config import SECRET_SETTINGS, SETTINGS, Setting
from registry.errors import ConfigurationError

LONG = "long enough to be accepted for any purpose here"


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("REGISTRY_"):
            monkeypatch.delenv(name)


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The instance folder that the environment names."""
    monkeypatch.setenv("REGISTRY_INSTANCE_PATH", str(tmp_path))
    return tmp_path


def named(setting: Setting) -> str:
    return setting.name


ACCEPTED = {
    "HOST": {"0.0.0.0": "0.0.0.0", "::1": "::1", "registry.example.com": "registry.example.com"},
    "PORT": {"0": 0, "8080": 8080, "65535": 65535},
    "INSTANCE_PATH": {"/srv/registry": Path("/srv/registry"), "relative": Path.cwd() / "relative"},
    "DATABASE_URL": {
        "sqlite:////srv/registry.sqlite3": "sqlite:////srv/registry.sqlite3",
        "postgresql://user:password@db/registry": "postgresql://user:password@db/registry",
    },
    "STORAGE_URL": {
        address: address
        for address in (
            "file:///srv/packages",
            "s3://bucket",
            "s3://bucket/a/prefix",
            "gs://bucket/p",
            "az://container/p/",
        )
    },
    "STORAGE_DOWNLOADS": {"stream": "stream"},
    "S3_ENDPOINT": {"https://s3.example.com:9000/": "https://s3.example.com:9000"},
    "S3_REGION": {"eu-central-1": "eu-central-1"},
    "S3_ACCESS_KEY_ID": {},
    "S3_SECRET_ACCESS_KEY": {},
    "EXTERNAL_URL": {
        "https://pypi.example.com": "https://pypi.example.com",
        "http://example.com:8080/registry/": "http://example.com:8080/registry",
        "https://xn--bcher-kva.example.com": "https://xn--bcher-kva.example.com",
        "http://[2001:db8::1]:8080": "http://[2001:db8::1]:8080",
        "http://my_registry:8080": "http://my_registry:8080",
    },
    "TRUSTED_PROXIES": {"0": 0, "2": 2},
    "TRUSTED_PROXY_ADDRESSES": {},
    "TRUSTED_USER_HEADER": {},
    "SHARED_CACHES": {"true": True, "False": False},
    "UPSTREAM_URL": {"https://mirror.example.com/simple/": "https://mirror.example.com/simple"},
    "UPSTREAM_CHECK": {"True": True, "false": False},
    "UPSTREAM_USERNAME": {},
    "UPSTREAM_PASSWORD": {},
    "UPSTREAM_FILE_HOSTS": {
        "files.example.com": ("files.example.com",),
        "A.test, b.test:8443": ("a.test", "b.test:8443"),
    },
    "UPSTREAM_PAGE_SECONDS": {"1": 1, "86400": 86400},
    "UPSTREAM_CACHE_SIZE": {"0": 0, "21474836480": 21474836480},
    "MAX_FILE_SIZE": {"0": 0, "1048576": 1048576, "5368709120": 5368709120},
    "MAX_RECEIVING_SIZE": {"1": 1, "1048576": 1048576},
    "WORKERS": {"1": 1, "64": 64},
    "MAX_CONNECTIONS": {"1": 1, "1000000": 1_000_000},
    "MAX_CONNECTIONS_PER_ADDRESS": {"0": 0, "256": 256},
    "THREADS": {"1": 1, "256": 256},
    "SECRET_KEY": {"k" * 32: "k" * 32},
    "ROOT_PASSWORD": {"p" * 8: "p" * 8, "p" * 128: "p" * 128},
    "ROOT_TOKEN": {"t" * 20: "t" * 20},
    "OIDC_ISSUER": {},
    "OIDC_CLIENT_ID": {},
    "OIDC_CLIENT_SECRET": {},
    "OIDC_SCOPES": {"openid": "openid", " openid  groups": "openid groups"},
    "OIDC_GROUPS_CLAIM": {"realm_access.roles": "realm_access.roles"},
    "OIDC_ADMIN_GROUP": {},
    "OIDC_LABEL": {"Acme 社": "Acme 社"},
    "OIDC_CREATE_USERS": {"false": False},
    "PASSWORD_SIGN_IN": {"true": True},
    "LOG_FORMAT": {"text": "text", "json": "json"},
    "SLOW_QUERY_MS": {"0": 0, "250": 250},
}

REFUSED = {
    "HOST": [],
    "PORT": ["-1", "65536", "http", "80.5", "80 81"],
    "INSTANCE_PATH": ["~no-such-user/registry"],
    "DATABASE_URL": [
        "registry.sqlite3", "postgresql:user:password@db/registry", "sqlite://user:password@db", "mysql://db/registry",
        "postgres://user:password@db/registry", "user:password://db", "sqlite:///", "sqlite:///:memory:",
        "postgresql://", "postgresql://user:pass@word@db/registry",
        "sqlite:////srv/%00", "postgresql://user:pass%00word@db/registry", "sqlite:////srv/\x01",
    ],
    "STORAGE_URL": [
        "/srv/packages", "file:///", "file://packages", "ftp://host/packages", "s3://", "s3://b", "s3:///prefix",
        "s3://bucket/../other", "s3://key:secret@bucket", "s3://bucket?region=x", "s3://bucket//prefix",
        "file:///srv/%00", "file:///\x01",
    ],
    "STORAGE_DOWNLOADS": ["proxy", "Stream"],
    "S3_ENDPOINT": ["s3.example.com", "ftp://s3.example.com", "https://key:secret@s3.example.com"],
    "S3_REGION": [],
    "S3_ACCESS_KEY_ID": [],
    "S3_SECRET_ACCESS_KEY": [],
    "EXTERNAL_URL": [
        "pypi.example.com", "ftp://example.com", "https://", "https://user:password@example.com",
        "https://example.com/?q=1", "https://example.com/#top", "https://example.com:port", "https://exa mple.com",
        "https://[::1", "https://a..b", "https://xn--.jp", "https://bücher.example.com", "https://example.com:0",
    ],
    "TRUSTED_PROXIES": ["-1", "11", "yes"],
    "TRUSTED_PROXY_ADDRESSES": ["proxy.example.com", "10.0.0.1/8", "10.0.0.1,"],
    "TRUSTED_USER_HEADER": ["X_Forwarded_User", "Cookie", "X-", "X-Forwarded-For"],
    "SHARED_CACHES": ["yes", "1"],
    "UPSTREAM_URL": [
        "pypi.org", "file:///simple", "https://pypi.org/simple?x", "https://:password@pypi.org/simple",
    ],
    "UPSTREAM_CHECK": ["no", "0"],
    "UPSTREAM_USERNAME": [],
    "UPSTREAM_PASSWORD": [],
    "UPSTREAM_FILE_HOSTS": ["https://files.example.com", "files.example.com,", "files.example.com/x"],
    "UPSTREAM_PAGE_SECONDS": ["0", "86401", "ten"],
    "UPSTREAM_CACHE_SIZE": ["-1", "20 GiB"],
    "MAX_FILE_SIZE": ["-1", "5 GiB", "1e9"],
    "MAX_RECEIVING_SIZE": ["0", "half"],
    "WORKERS": ["0", "65", "auto", "1.5"],
    "MAX_CONNECTIONS": ["0", "1000001", "many"],
    "MAX_CONNECTIONS_PER_ADDRESS": ["-1", "some"],
    "THREADS": ["0", "257", "many"],
    "SECRET_KEY": ["k" * 31, "\udcff" * 40],
    "ROOT_PASSWORD": ["p" * 7, "p" * 129, "\udcff" * 40],
    "ROOT_TOKEN": ["t"],
    "OIDC_ISSUER": ["sso.example.com", "http://sso.example.com", "https://sso.example.com/?a=b",
        "https://sso.example.com/.well-known/openid-configuration",
    ],
    "OIDC_CLIENT_ID": [],
    "OIDC_CLIENT_SECRET": [],
    "OIDC_SCOPES": ["profile email", 'openid "'],
    "OIDC_GROUPS_CLAIM": ["x" * 256],
    "OIDC_ADMIN_GROUP": [" "],
    "OIDC_LABEL": [" ", "x" * 101],
    "OIDC_CREATE_USERS": ["yes"],
    "PASSWORD_SIGN_IN": ["no"],
    "LOG_FORMAT": ["JSON", "xml"],
    "SLOW_QUERY_MS": ["-1", "0.5", "soon"],
}  # fmt: skip

# Errors about values that can contain secrets: they describe the value instead of showing it.
FLAWS = {
    "registry.sqlite3": "is not a URL",
    "postgresql:user:password@db/registry": "is not a URL",
    "sqlite://user:password@db": "begins with 'sqlite://'",
    "mysql://db/registry": "begins with 'mysql://'",
    "postgres://user:password@db/registry": "begins with 'postgres://'",
    "user:password://db": "is not a URL",
    "sqlite:///": "names no file",
    "sqlite:///:memory:": "names a database in memory",
    "postgresql://": "names no host and no database",
    "postgresql://user:pass@word@db/registry": "has a user name or password with @, which is %40 in a URL",
    "k" * 31: "has 31 characters",
    "p" * 7: "has 7 characters",
    "p" * 129: "has 129 characters",
    "t": "has 1 character",
    "\udcff" * 40: "is not in UTF-8",
    "sqlite:////srv/%00": "has a control character",
    "sqlite:////srv/\x01": "has a control character",
    "postgresql://user:pass%00word@db/registry": "has a control character",
}


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [(name, text, value) for name, texts in ACCEPTED.items() for text, value in texts.items()],
)
def test_a_good_value_is_taken_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str, value: object
) -> None:
    monkeypatch.setenv(f"REGISTRY_{name}", text)

    assert config.load()[name] == value


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in REFUSED.items() for text in texts])
def test_a_bad_value_is_refused_with_variable_value_and_accepted_values(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    monkeypatch.setenv(f"REGISTRY_{name}", text)

    with pytest.raises(ConfigurationError) as refusal:
        config.load()

    setting = config.SETTINGS_BY_NAME[name]
    without_credentials = text.replace("key:secret@", "[not shown]@").replace("user:password@", "[not shown]@")
    without_credentials = without_credentials.replace(":password@", "[not shown]@")
    flaw = FLAWS[text] if name in SECRET_SETTINGS else f"is {without_credentials!r}"
    assert str(refusal.value) == f"REGISTRY_{name} {flaw}; expected {setting.accepts}."


def test_every_setting_is_in_the_tables_of_these_tests() -> None:
    names = [setting.name for setting in SETTINGS]

    assert list(ACCEPTED) == names
    assert list(REFUSED) == names


@pytest.mark.parametrize(
    "url", ["https://user:hush@h/simple?q", "https://user:hu/sh@h/simple", "user:hush@h/simple", "https://u:hush\n@h"]
)
def test_credentials_in_a_refused_url_are_not_repeated(instance: Path, url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^UPSTREAM_URL is '.*\[not shown\]@h") as refusal:
        config.load({"UPSTREAM_URL": url})

    assert "hu" not in str(refusal.value)


@pytest.mark.parametrize("name", sorted(SECRET_SETTINGS))
def test_a_secret_is_not_repeated_when_it_is_refused(instance: Path, name: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        config.load({name: "hush"})

    assert "hush" not in str(refusal.value)


def test_the_password_of_a_malformed_database_address_is_not_repeated(instance: Path) -> None:
    with pytest.raises(ConfigurationError, match="REGISTRY_DATABASE_URL has a host or port that ca") as refusal:
        create_app({"DATABASE_URL": "postgresql://user:hush@host:port/registry"})

    assert "hush" not in str(refusal.value)


S3 = {"STORAGE_URL": "s3://packages", "S3_ENDPOINT": "https://s3.example.com:9000"}
REDIRECT = {"STORAGE_DOWNLOADS": "redirect"}


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (
            {"S3_ACCESS_KEY_ID": "id"},
            "Set both or neither of REGISTRY_S3_ACCESS_KEY_ID and REGISTRY_S3_SECRET_ACCESS_KEY",
        ),
        (
            {"UPSTREAM_PASSWORD": "hush"},
            "Set both or neither of REGISTRY_UPSTREAM_USERNAME and REGISTRY_UPSTREAM_PASSWORD",
        ),
        (
            {"OIDC_ISSUER": "https://sso.example.com", "OIDC_CLIENT_ID": "registry"},
            "Set all or none of REGISTRY_OIDC_ISSUER, .* for sign-in by OpenID Connect; missing: "
            "REGISTRY_OIDC_CLIENT_SECRET",
        ),
        ({"PASSWORD_SIGN_IN": "false"}, "is 'false', which requires REGISTRY_OIDC_ISSUER or REGISTRY_TRUSTED_USER_H"),
        ({"OIDC_ADMIN_GROUP": "admins"}, "OIDC_ADMIN_GROUP is 'admins', which requires REGISTRY_OIDC_ISSUER"),
        ({"TRUSTED_USER_HEADER": "X-User", "TRUSTED_PROXIES": 1}, "REGISTRY_TRUSTED_USER_HEADER requires .*_ADDRESSES"),
        (
            {
                "TRUSTED_USER_HEADER": "X-User",
                "TRUSTED_PROXIES": 1,
                "TRUSTED_PROXY_ADDRESSES": "::1, 0.0.0.0/1, 128.0.0.0/1",
            },
            "includes 0.0.0.0/0, all addresses",
        ),
        ({"TRUSTED_PROXY_ADDRESSES": "192.0.2.1"}, "REGISTRY_TRUSTED_PROXY_ADDRESSES requires .*_TRUSTED_PROXIES, the"),
        ({"STORAGE_DOWNLOADS": "accel"}, "REGISTRY_STORAGE_DOWNLOADS is 'accel', which requires a folder .* and nginx"),
        ({**S3, "STORAGE_DOWNLOADS": "accel", "TRUSTED_PROXIES": 1}, "is 'accel', which requires a folder"),
        (REDIRECT, "REGISTRY_STORAGE_DOWNLOADS is 'redirect', which requires an object store; .* is a folder"),
        (
            {**S3, **REDIRECT, "EXTERNAL_URL": "https://s3.example.com"},
            "the same host: old clients would send their cred",
        ),
    ],
    ids=[
        "half an access key",
        "a password without a user name",
        "a provider without a secret",
        "no way to sign in",
        "a group without a provider",
        "names of users without proxies",
        "names of users from all addresses",
        "addresses without a proxy",
        "accel without a proxy",
        "accel to an object store",
        "redirect to a folder",
        "redirect to the same host",
    ],
)
def test_values_that_do_not_go_together_are_refused(instance: Path, overrides: dict[str, str], sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        config.load(overrides)


def test_downloads_can_be_redirected_to_a_store_on_another_host(instance: Path) -> None:
    assert (
        config.load({**S3, **REDIRECT, "EXTERNAL_URL": "https://pypi.example.com"})["STORAGE_DOWNLOADS"] == "redirect"
    )


def test_proxies_can_connect_from_addresses_and_networks(instance: Path) -> None:
    values = config.load({"TRUSTED_PROXIES": "1", "TRUSTED_PROXY_ADDRESSES": "192.0.2.1, fd00::/8"})

    assert values["TRUSTED_PROXY_ADDRESSES"] == (ip_network("192.0.2.1"), ip_network("fd00::/8"))


def test_passwords_can_be_off_where_a_proxy_signs_users_in(instance: Path) -> None:
    proxy = {"TRUSTED_USER_HEADER": "X-User", "TRUSTED_PROXIES": "1", "TRUSTED_PROXY_ADDRESSES": "192.0.2.1"}

    assert config.load({**proxy, "PASSWORD_SIGN_IN": "false"})["PASSWORD_SIGN_IN"] is False


def test_without_any_source_the_defaults_count(instance: Path) -> None:
    assert config.load() == {
        "HOST": "127.0.0.1",
        "PORT": 8080,
        "INSTANCE_PATH": instance,
        "DATABASE_URL": None,
        "STORAGE_URL": (instance / "packages").as_uri(),
        "STORAGE_DOWNLOADS": "stream",
        "S3_ENDPOINT": None,
        "S3_REGION": None,
        "S3_ACCESS_KEY_ID": None,
        "S3_SECRET_ACCESS_KEY": None,
        "EXTERNAL_URL": None,
        "TRUSTED_PROXIES": 0,
        "TRUSTED_PROXY_ADDRESSES": None,
        "TRUSTED_USER_HEADER": None,
        "SHARED_CACHES": False,
        "UPSTREAM_URL": "https://pypi.org/simple",
        "UPSTREAM_CHECK": True,
        "UPSTREAM_CACHE_SIZE": 20 << 30,
        "UPSTREAM_USERNAME": None,
        "UPSTREAM_PASSWORD": None,
        "UPSTREAM_FILE_HOSTS": None,
        "UPSTREAM_PAGE_SECONDS": 600,
        "MAX_FILE_SIZE": 5 * 2**30,
        "WORKERS": 1,
        "MAX_RECEIVING_SIZE": None,
        "MAX_CONNECTIONS": 4096,
        "MAX_CONNECTIONS_PER_ADDRESS": 256,
        "THREADS": 8,
        "SECRET_KEY": None,
        "ROOT_PASSWORD": None,
        "ROOT_TOKEN": None,
        "OIDC_ISSUER": None,
        "OIDC_CLIENT_ID": None,
        "OIDC_CLIENT_SECRET": None,
        "OIDC_SCOPES": "openid profile email",
        "OIDC_GROUPS_CLAIM": "groups",
        "OIDC_ADMIN_GROUP": None,
        "OIDC_LABEL": "OpenID Connect",
        "OIDC_CREATE_USERS": True,
        "PASSWORD_SIGN_IN": True,
        "LOG_FORMAT": "text",
        "SLOW_QUERY_MS": 500,
    }


def test_the_instance_folder_is_in_the_checkout_by_default() -> None:
    assert config.load()["INSTANCE_PATH"] == config.ROOT / "instance"
    assert (config.ROOT / "app.py").is_file()


PORTS = {"overrides": 1001, "environment": 1002, "instance/config.py": 1003, "default": 8080}


@pytest.mark.parametrize("first", range(4), ids=list(PORTS))
def test_the_first_source_that_has_a_value_counts(instance: Path, monkeypatch: pytest.MonkeyPatch, first: int) -> None:
    (instance / "config.py").write_text("PORT = 1003\n" if first <= 2 else "# nothing\n")
    if first <= 1:
        monkeypatch.setenv("REGISTRY_PORT", "1002")

    values = config.load({"PORT": 1001} if first == 0 else None)

    assert values["PORT"] == list(PORTS.values())[first]


def test_the_instance_folder_of_the_overrides_is_where_config_py_is_looked_for(instance: Path) -> None:
    other = instance / "other"
    other.mkdir()
    (instance / "config.py").write_text("PORT = 1\n")
    (other / "config.py").write_text("PORT = 2\nINSTANCE_PATH = '/nowhere'\n")

    values = config.load({"INSTANCE_PATH": other})

    assert (values["PORT"], values["INSTANCE_PATH"]) == (2, other)


def test_config_py_is_python_and_can_define_other_names(instance: Path) -> None:
    (instance / "config.py").write_text(
        "import datetime\nMEBIBYTE = 1 << 20\nMAX_FILE_SIZE = 64 * MEBIBYTE\nTRUSTED_PROXIES = 1\n"
    )

    values = config.load()

    assert (values["MAX_FILE_SIZE"], values["TRUSTED_PROXIES"]) == (64 << 20, 1)


def test_an_empty_variable_counts_as_none(instance: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY_PORT", "")

    assert config.load()["PORT"] == 8080


@pytest.mark.parametrize("name", ["PORT", "EXTERNAL_URL"])
def test_none_in_config_py_is_the_default(instance: Path, name: str) -> None:
    (instance / "config.py").write_text(f"{name} = None\n")

    assert config.load()[name] == {"PORT": 8080, "EXTERNAL_URL": None}[name]


def test_a_bad_value_in_config_py_is_reported_with_its_place(instance: Path) -> None:
    (instance / "config.py").write_text("PORT = 'eighty'\n")

    with pytest.raises(ConfigurationError, match=r"^PORT in config\.py is 'eighty'; expected a whole number"):
        config.load()


@pytest.mark.parametrize("text", ["PORT = = 1", "1 / 0", "import no_such_module"], ids=["syntax", "error", "import"])
def test_a_config_py_that_fails_is_reported_in_one_sentence(instance: Path, text: str) -> None:
    (instance / "config.py").write_text(text)

    with pytest.raises(ConfigurationError, match=r"config\.py cannot be read as Python: [^\n]*\.$"):
        config.load()


def test_a_config_py_that_cannot_be_found_out_about_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"config\.py cannot be read as Python: .*File name too long"):
        config.load({"INSTANCE_PATH": tmp_path / ("n" * 300)})


def test_an_unknown_setting_is_refused_by_name(instance: Path) -> None:
    with pytest.raises(
        ConfigurationError, match=r"^PROT is not a setting; the settings are HOST, PORT, .*SLOW_QUERY_MS\.$"
    ):
        config.load({"PROT": 1})


def prepared(folder: Path, **values: object) -> dict[str, object]:
    filled: dict[str, object] = {"INSTANCE_PATH": folder, "SECRET_KEY": None, **values}
    config.prepare_instance_folder(filled)
    return filled


def test_the_secret_key_is_made_once_and_kept(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "new" / "folder"

    first, second = prepared(folder), prepared(folder)

    assert first["SECRET_KEY"] == second["SECRET_KEY"]
    assert len(str(first["SECRET_KEY"])) == 64
    assert stat.S_IMODE((folder / "secret_key").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) & 0o027 == 0
    assert [path.name for path in folder.iterdir()] == ["secret_key"]


def test_two_installations_have_different_keys(tmp_path: Path) -> None:
    assert prepared(tmp_path / "one")["SECRET_KEY"] != prepared(tmp_path / "two")["SECRET_KEY"]


def test_processes_that_start_at_once_agree_on_the_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = {values["SECRET_KEY"] for values in pool.map(lambda _: prepared(tmp_path), range(64))}

    assert len(keys) == 1


def test_a_key_that_was_given_is_not_written_down(tmp_path: Path) -> None:
    assert prepared(tmp_path, SECRET_KEY=LONG)["SECRET_KEY"] == LONG

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"short\n", b"\xff" * 40], ids=["short", "binary"])
def test_a_key_file_without_a_key_is_reported(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "secret_key").write_bytes(content)

    with pytest.raises(
        ConfigurationError, match="secret_key does not contain a key of at least 32 characters; delete the file"
    ):
        prepared(tmp_path)


@pytest.mark.parametrize("missing", ["secret_key", "registry.sqlite3"])
def test_a_folder_without_a_key_or_database_is_no_registry(tmp_path: Path, missing: str) -> None:
    for name in {"secret_key", "registry.sqlite3"} - {missing}:
        (tmp_path / name).touch()

    with pytest.raises(ConfigurationError, match=f"^There is no registry in {tmp_path} "):
        config.require_instance(config.load({"INSTANCE_PATH": tmp_path}))


def test_a_registry_can_be_given_by_key_and_database(tmp_path: Path) -> None:
    given = {"INSTANCE_PATH": tmp_path / "instance", "SECRET_KEY": LONG}

    config.require_instance(config.load({**given, "DATABASE_URL": "postgresql://u@h/d"}))
    with pytest.raises(ConfigurationError, match=r"^The database file \(REGISTRY_DATABASE_URL\) does not exist"):
        config.require_instance(config.load({**given, "DATABASE_URL": f"sqlite:///{tmp_path}/none"}))

    assert list(tmp_path.iterdir()) == []


def test_an_instance_folder_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ConfigurationError, match=r"file/instance \(REGISTRY_INSTANCE_PATH\) is not usable: Not a dir"):
        prepared(tmp_path / "file" / "instance")


@pytest.mark.parametrize("name", ["with space", "hash # percent %41 question ?", "ümlaut", "quote ' \""])
def test_database_and_packages_are_stored_in_an_instance_folder_of_any_name(tmp_path: Path, name: str) -> None:
    app = create_app({"INSTANCE_PATH": tmp_path / name})
    with app.app_context():
        database.upgrade()
        database.db.engine.dispose()

    assert sorted(path.name for path in (tmp_path / name).iterdir()) == [
        "packages", "registry.sqlite3", "registry.sqlite3.upgrade-lock", "secret_key"
    ]  # fmt: skip


@pytest.mark.parametrize("setting", SETTINGS, ids=named)
def test_a_setting_describes_itself_and_its_values(setting: Setting) -> None:
    assert setting.meaning
    assert setting.accepts
    assert setting.variable == f"REGISTRY_{setting.name}"
    if setting.default is not None:
        setting.parse(setting.default)
