"""Configurations, ID tokens, and UserInfo responses of identity providers that cannot be used."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterator, Mapping
from urllib.parse import unquote_plus

import pytest

from registry.domain.single_sign_on.persons import Person
from registry.domain.single_sign_on.provider import Attempt, Provider
from registry.errors import BadRequest, ProviderAway
from tests.fakes.issuer import CONFIGURATION, KEYS, Issuer, issuer_running, signed


@pytest.fixture(scope="module")
def _issuer() -> Iterator[Issuer]:
    with issuer_running() as issuer:
        yield issuer


@pytest.fixture
def issuer(_issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> Issuer:
    monkeypatch.setenv("NO_PROXY", "*")
    _issuer.clear()
    return _issuer


def document(issuer: Issuer, /, **changes: object) -> bytes:
    usual = {name: f"{issuer.url}/{name}" for name in ("authorization_endpoint", "token_endpoint")}
    return json.dumps({"issuer": issuer.url} | usual | changes).encode()


def asked(issuer: Issuer, clock: list[float]) -> str:
    provider = Provider(issuer.url, "id", "s", scopes="openid", groups_claim="groups", clock=lambda: clock[0])
    return provider.sign_in_url(Attempt.new(), "http://localhost/callback", "en")


def test_the_endpoints_are_those_of_the_configuration(issuer):
    issuer.answers[CONFIGURATION] = 200, {}, document(issuer)

    assert asked(issuer, [0.0]).startswith(f"{issuer.url}/authorization_endpoint?response_type=code&client_id=id&")


@pytest.mark.parametrize(
    "changes",
    [
        {"issuer": "https://other.example"},
        {"token_endpoint": None},
        {"authorization_endpoint": "http://sso.example.com/authorize"},
        {"authorization_endpoint": "https://sso.example.com:port/"},
        {"userinfo_endpoint": ["https://sso.example.com"]},
        {"token_endpoint_auth_methods_supported": ["private_key_jwt"]},
        {"padding": "x" * 70_000},
    ],
    ids=["another issuer", "no endpoint", "no HTTPS", "no URL", "a list", "no secrets", "too large"],
)
def test_a_wrong_configuration_is_not_used(issuer, changes):
    issuer.answers[CONFIGURATION] = 200, {}, document(issuer, **changes)

    with pytest.raises(ProviderAway):
        asked(issuer, [0.0])


def test_the_log_names_the_issuer_to_configure(issuer, caplog):
    issuer.answers[CONFIGURATION] = 200, {}, document(issuer, issuer=f"{issuer.url}/")

    with pytest.raises(ProviderAway):
        asked(issuer, [0.0])

    assert f"names the issuer '{issuer.url}/'; expected '{issuer.url}'" in caplog.text


BASIC, POST = "client_secret_basic", "client_secret_post"


@pytest.mark.parametrize(
    ("methods", "secret", "is_basic"),
    [(None, "a:b+c% ä", True), ([POST], "s", False), ([POST, BASIC], "s", True), ([BASIC, POST], "a+b", False)],
    ids=["as usual", "in the body", "one of both", "both, and special characters"],
)
def test_the_secret_is_sent_as_the_provider_accepts_it(issuer, methods, secret, is_basic, caplog):
    accepted = {} if methods is None else {"token_endpoint_auth_methods_supported": methods}
    issuer.answers[CONFIGURATION] = 200, {}, document(issuer, **accepted)
    issuer.answers["/token_endpoint"] = 400, {}, b'{"error": "invalid_grant"}'
    provider = Provider(issuer.url, "the-id", secret, scopes="openid", groups_claim="groups")

    with pytest.raises(BadRequest):
        provider.person("code", Attempt.new(), "http://localhost/callback")

    assert "invalid_grant" in caplog.text
    ((authorization, form),) = issuer.posted
    if is_basic:
        encoded = b64decode(authorization.removeprefix("Basic ")).decode().split(":")
        assert [unquote_plus(part) for part in encoded] == ["the-id", secret]
        assert "client_secret" not in form
    else:
        assert (authorization, form["client_id"], form["client_secret"]) == ("", ["the-id"], [secret])


def test_no_redirect_is_followed(issuer):
    issuer.answers[CONFIGURATION] = 302, {"Location": f"{issuer.url}/elsewhere"}, b""

    with pytest.raises(ProviderAway):
        asked(issuer, [0.0])
    assert issuer.requests == [CONFIGURATION]


def test_known_endpoints_are_used_for_a_day_while_the_provider_is_away(issuer):
    clock = [0.0]
    issuer.answers[CONFIGURATION] = 200, {}, document(issuer)
    provider = Provider(issuer.url, "id", "s", scopes="openid", groups_claim="groups", clock=lambda: clock[0])
    provider.sign_in_url(Attempt.new(), "http://localhost/callback", "en")
    issuer.answers[CONFIGURATION] = 503, {}, b""

    clock[0] = 7200.0
    assert provider.sign_in_url(Attempt.new(), "http://localhost/callback", "en")
    clock[0] = 86400.0
    with pytest.raises(ProviderAway):
        provider.sign_in_url(Attempt.new(), "http://localhost/callback", "en")
    assert len(issuer.requests) == 3


def person(issuer: Issuer, changes: Mapping[str, object], userinfo: Mapping[str, object] | None = None) -> Person:
    """The person of an ID token with these claims, which the provider issues for a code."""
    attempt = Attempt.new()
    claims = issuer.claims(**{"aud": "id", "nonce": attempt.nonce, "sub": "hanako", **changes})
    documents = {
        "token_endpoint": {"id_token": signed(claims), "access_token": "opaque"},
        "userinfo_endpoint": {"sub": claims.get("sub"), **(userinfo or {})},
    }
    addresses = {"userinfo_endpoint": f"{issuer.url}/userinfo_endpoint", "jwks_uri": f"{issuer.url}{KEYS}"}
    issuer.answers[CONFIGURATION] = 200, {}, document(issuer, **addresses)
    issuer.answers |= {f"/{name}": (200, {}, json.dumps(each).encode()) for name, each in documents.items()}
    provider = Provider(issuer.url, "id", "s", scopes="openid", groups_claim="groups")
    return provider.person("code", attempt, "http://localhost/callback").person


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "other"},
        {"aud": ["id", "other"]},
        {"azp": "other"},
        {"iss": "https://other.example"},
        {"nonce": "other"},
        {"nonce": None},
        {"exp": 1},
        {"exp": "soon"},
        {"iat": 9e9},
        {"at_hash": {"of": "another"}},
        {"sub": None},
        {"sub": 5},
        {"sub": ["hanako"]},
        {"sub": ""},
        {"sub": "x" * 256},
        {"sub": "hana\x00ko"},
    ],
    ids=str,
)
def test_an_id_token_that_is_not_for_this_sign_in_is_refused(issuer, changes):
    with pytest.raises(BadRequest):
        person(issuer, changes)


def test_a_userinfo_response_about_another_person_is_refused(issuer):
    with pytest.raises(BadRequest):
        person(issuer, {}, {"sub": "taro"})


def test_groups_have_exactly_the_names_that_the_provider_lists(issuer):
    """A person who can create groups there could name one almost like that of the administrators."""
    listed = [" admins ", "Admins", "eng", 5, ["admins"], {"admins": 1}, "admins\n", "x" * 256]

    assert person(issuer, {}, {"groups": listed}).groups == {" admins ", "Admins", "eng"}
