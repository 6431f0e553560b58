"""Identity tokens that are exchanged, and the long list of those that are not."""

from __future__ import annotations

import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from joserfc.jwk import OctKey, RSAKey
from sqlalchemy import func, select

from registry.database import db, utcnow
from registry.domain import audit, instance
from registry.domain.access import SHELL, Principal, PrincipalKind, accepting
from registry.domain.instance import InstanceChanges
from registry.domain.oidc import discovery, exchanged_tokens, identities, keys
from registry.domain.oidc.keys import CONCURRENT_REQUESTS, KEPT_SECONDS, KEYS_SECONDS, PAUSE_SECONDS, Issuers
from registry.errors import IdentityTokenRefused, IssuerNotUsable, SourceError, TooManyRequests, Unavailable
from registry.models import AuditEvent, Project, PublishingToken, TrustedPublisher, UsedIdentityToken
from tests import factories
from tests.fakes.issuer import AUDIENCE, CONFIGURATION, KEY, KEYS, OTHER_KEYS, Issuer, issuer_running, public, signed
from tests.tables import each

FOREIGN = RSAKey.generate_key(2048, {"kid": "first"})
PUBLISHED_SECRET = OctKey.import_key(json.dumps(public(KEY)), {"kid": "first"})
Exchange = Callable[..., tuple[PublishingToken, str]]


@pytest.fixture(scope="module")
def _issuer() -> Iterator[Issuer]:
    with issuer_running() as issuer:
        yield issuer


@pytest.fixture
def issuer(_issuer: Issuer, app: Flask, monkeypatch: pytest.MonkeyPatch) -> Issuer:
    """An issuer that the instance lists, as its address is not public."""
    _issuer.clear()
    monkeypatch.setenv("NO_PROXY", "*")
    instance.change_instance(InstanceChanges(oidc_trusted_issuers=[_issuer.url]), by=SHELL)
    return _issuer


class Clock:
    """Seconds that a test moves on."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def exchange(clock: Clock) -> Exchange:
    issuers = Issuers(clock)

    def exchange(sent: str, address: str = "192.0.2.7", now: datetime | None = None) -> tuple[PublishingToken, str]:
        return exchanged_tokens.exchange(
            sent,
            PublishingToken,
            audience=AUDIENCE,
            issuers=issuers,
            key=factories.token_key(),
            address=address,
            now=now or utcnow(),
        )

    return exchange


@pytest.fixture
def publisher(project: Project, issuer: Issuer) -> TrustedPublisher:
    claims = {"project": "acme/*", "ref": "main", "protected": "true"}
    return identities.add_publisher(project, issuer=issuer.url, claims=claims, by=SHELL)


def refusal(exchange: Exchange, sent: str) -> str:
    """The sentence with which a token is refused, after which nothing has been made."""
    with pytest.raises(IdentityTokenRefused) as refused:
        exchange(sent)
    for model in (PublishingToken, UsedIdentityToken):
        assert db.session.scalar(select(func.count()).select_from(model)) == 0
    return refused.value.reason


def test_a_job_that_a_project_trusts_gets_a_token_for_15_minutes(
    issuer: Issuer, publisher: TrustedPublisher, exchange: Exchange
) -> None:
    now = utcnow()

    token, secret = exchange(issuer.token(), now=now)

    assert secret.startswith("glcbt-")
    assert token.expires_at == now + timedelta(minutes=15)
    assert exchanged_tokens.find(secret, factories.token_key()) == token
    assert accepted_by(token, db.session.get_one(Project, publisher.project_id)) == [publisher.id]
    claims = {"sub": "project:acme/app", "project": "acme/app", "ref": "main", "protected": "true"}
    assert token.claims == claims
    created = select(AuditEvent).where(AuditEvent.action == "publishing_token_created").order_by(AuditEvent.id)
    for_administrators, for_project = db.session.scalars(created)
    assert (for_administrators.author, for_administrators.namespace_id) == ("trusted publisher project:acme/app", None)
    assert (for_project.author, for_project.target) == ("trusted publisher", issuer.url)
    assert for_project.namespace_id == publisher.project_id
    assert for_administrators.details["accepted_in"] == [db.session.get_one(Project, publisher.project_id).full_path]
    assert [event.id for event in db.session.scalars(audit.events())][:1] == [for_administrators.id]
    assert for_project.details == {"token_id": token.id, "issuer": issuer.url, "publisher_id": [publisher.id]}
    assert secret not in json.dumps([for_administrators.details, for_project.details])


@pytest.mark.parametrize("algorithm", OTHER_KEYS)
@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")  # when the test signs
@pytest.mark.usefixtures("publisher")
def test_other_signatures_with_public_keys_are_accepted(issuer: Issuer, exchange: Exchange, algorithm: str) -> None:
    token = signed(issuer.claims(), OTHER_KEYS[algorithm], alg=algorithm)

    assert exchange(token)[0].subject == "project:acme/app"


def accepted_by(token: PublishingToken, project: Project) -> list[int]:
    principal = Principal(PrincipalKind.TRUSTED_PUBLISHER, publishing_token=token)
    return [each.id for each in accepting(principal, project)]


def test_strangers_who_trust_the_same_job_do_not_crowd_a_project_out(
    issuer: Issuer, publisher: TrustedPublisher, exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchanged_tokens, "MOST_RECORDED", 2)
    projects = [factories.project() for _ in range(3)]
    strangers = [
        identities.add_publisher(each, issuer=issuer.url, claims={"project": "acme/app"}, by=SHELL).id
        for each in projects
    ]
    first_id, late = publisher.id, factories.project()

    token, _ = exchange(issuer.token())
    last = identities.add_publisher(late, issuer=issuer.url, claims={"sub": "project:acme/*", "ref": "m*"}, by=SHELL)

    assert accepted_by(token, db.session.get_one(Project, publisher.project_id)) == [first_id]
    assert [accepted_by(token, each) for each in projects] == [[each] for each in strangers]
    assert accepted_by(token, late) == [last.id]
    recorded = select(AuditEvent.namespace_id).where(AuditEvent.action == "publishing_token_created")
    assert set(db.session.scalars(recorded)) == {None, publisher.project_id, projects[0].id}


def test_publishers_of_other_jobs_are_not_loaded(
    project: Project, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted = [
        {"project": "acme/app"}, {"project": "acme/*"}, {"ref": "main", "project": "acme/app"},
        {"project": "*app", "sub": "b*", "ref": "main"}, {"project": "acme/a*", "ref": "*"}, {"project": "a*"},
    ]  # fmt: skip
    others = [
        {"project": "acme/other"}, {"ref": "main", "project": "acme/other"}, {"project": "acme/app/*"},
        {"project": "other/*", "ref": "main"}, {"project": "o*", "ref": "m*"},
    ]  # fmt: skip
    for claims in [*accepted, *others]:
        identities.add_publisher(project, issuer=issuer.url, claims=claims, by=SHELL)

    job = {"project": "acme/app", "ref": "main", "sub": "build\0", "long": "a" * 5000}
    found = identities.candidates(TrustedPublisher, issuer.url, job)

    assert [each.claims for each in found] == accepted
    monkeypatch.setattr(identities, "MOST_CANDIDATES", 2)
    most_exact = identities.candidates(TrustedPublisher, issuer.url, job)
    assert [each.claims for each in most_exact] == [accepted[0], accepted[2]], "strangers do not crowd them out"


@pytest.mark.usefixtures("publisher")
def test_a_token_is_exchanged_once(issuer: Issuer, exchange: Exchange) -> None:
    token = issuer.token()
    exchange(token)

    with pytest.raises(IdentityTokenRefused, match="exchanged before"):
        exchange(token)

    assert db.session.scalar(select(func.count()).select_from(PublishingToken)) == 1


def now(seconds: int) -> int:
    return int(datetime.now(UTC).timestamp()) + seconds


def part(value: bytes) -> str:
    return urlsafe_b64encode(value).decode().rstrip("=")


def unsigned(claims: dict[str, Any], **header: object) -> str:
    return (
        f"{part(json.dumps({'kid': 'first', **header}).encode())}.{part(json.dumps(claims).encode())}.{part(b'none')}"
    )


BAD_TOKENS: dict[str, tuple[Callable[[Issuer], str], str]] = {
    "empty": (lambda _: "", "three parts"),
    "of 1 MB": (lambda _: "a" * (1 << 20), "longer than 8192"),
    "not base64url": (lambda _: "a.b.c", "not a JSON object"),
    "nested deeply": (lambda _: f"{part(b'{}')}.{part(b'[' * 5000)}.{part(b'a')}", "not a JSON object"),
    "without algorithm": (lambda issuer: unsigned(issuer.claims(), alg="none"), "algorithm is not one of"),
    "with HMAC of the public key": (
        lambda issuer: signed(issuer.claims(), PUBLISHED_SECRET, alg="HS256"),
        "algorithm is not one of",
    ),
    "with extensions": (lambda issuer: unsigned(issuer.claims(), alg="RS256", crit=["b64"]), "crit"),
    "of an unknown key": (lambda issuer: unsigned(issuer.claims(), alg="RS256", kid="other"), "no key with the ID"),
    "signed by another key": (lambda issuer: signed(issuer.claims(), FOREIGN), "signature"),
    "with another algorithm of the key": (lambda issuer: signed(issuer.claims(), KEY, alg="PS256"), "signature"),
    "changed": (lambda issuer: issuer.token()[:-8] + "AAAAAAAA", "signature"),
    "of another issuer": (lambda issuer: issuer.token(iss="https://issuer.test"), "have not listed https://issuer.test"),
    "without issuer": (lambda issuer: issuer.token(iss=None), "no issuer"),
    "with half a character as issuer": (lambda issuer: issuer.token(iss="https://\ud800.test"), "not a JSON object"),
    "with half a character as claim": (lambda issuer: issuer.token(job_id="\udfff"), "not a JSON object"),
    "with half a character in a list": (lambda issuer: issuer.token(aud=[AUDIENCE, "\ud800"]), "not a JSON object"),
    "with NUL in the issuer": (lambda issuer: issuer.token(iss="https://issuer.test\0"), "no issuer"),
    "with letters beyond ASCII in the issuer": (lambda issuer: issuer.token(iss="https://\u00e9.test"), "no issuer"),
    "with an endless issuer": (lambda issuer: issuer.token(iss="https://issuer.test/" + "a" * 255), "no issuer"),
    "with a text as issuer": (lambda issuer: issuer.token(iss="GitHub"), "no issuer"),
    "of another audience": (lambda issuer: issuer.token(aud="pypi"), "another audience than registry.test"),
    "expired": (lambda issuer: issuer.token(exp=now(-61)), "expired at"),
    "without expiry": (lambda issuer: issuer.token(exp=None), "no time as exp"),
    "valid for a century": (lambda issuer: issuer.token(exp=now(10**10)), "valid for longer"),
    "valid until the last second": (lambda issuer: issuer.token(exp=253402300799), "valid for longer"),
    "expired in the first second": (lambda issuer: issuer.token(exp=-62135596800), "expired at"),
    "with an endless number": (lambda issuer: issuer.token(exp=10**400), "no time as exp"),
    "not valid yet": (lambda issuer: issuer.token(nbf=now(120)), "not valid yet"),
    "issued in the future": (lambda issuer: issuer.token(iat=now(120)), "issued in the future"),
    "issued at no time": (lambda issuer: issuer.token(iat="now"), "no time as iat"),
    "without jti": (lambda issuer: issuer.token(jti=None), "no jti"),
    "with an empty subject": (lambda issuer: issuer.token(sub=""), "no sub"),
    "with duplicate claims": (
        lambda issuer: signed(json.dumps(issuer.claims()).encode()[:-1] + b', "ref": "main"}'),
        "duplicate names",
    ),
    "with a nested claim": (lambda issuer: issuer.token(ref={"name": "main"}), "ref is not a text"),
    "with a list as claim": (lambda issuer: issuer.token(ref=["main"]), "ref is not a text"),
    "of another branch": (lambda issuer: issuer.token(ref="main\n<b>"), "ref is 'main?<b>'"),
    "of an unprotected branch": (lambda issuer: issuer.token(protected=None), "protected is missing"),
    "of a stranger": (
        lambda issuer: issuer.token(project="acme", ref="x", protected=False), "No trusted publisher matches",
    ),
}  # fmt: skip


@pytest.mark.usefixtures("publisher")
@each("kind", BAD_TOKENS)
def test_a_bad_token_is_refused_with_the_reason(issuer: Issuer, exchange: Exchange, kind: str) -> None:
    make, expected = BAD_TOKENS[kind]

    assert expected in refusal(exchange, make(issuer))


@pytest.mark.usefixtures("publisher")
def test_a_refusal_shows_no_value_of_a_publisher(issuer: Issuer, exchange: Exchange) -> None:
    reason = refusal(exchange, issuer.token(project="other/app", ref="dev"))

    assert reason.endswith("does not accept these claims of the identity token: project is 'other/app'; ref is 'dev'.")


def answer(body: bytes, status: int = 200, **headers: str) -> tuple[int, dict[str, str], bytes]:
    return status, headers, body


BAD_ISSUERS: dict[str, tuple[str, Callable[[Issuer], tuple[int, dict[str, str], bytes]], str]] = {
    "names another issuer": (CONFIGURATION, lambda _: answer(b'{"issuer": "https://other.test"}'), "another issuer."),
    "is no JSON": (CONFIGURATION, lambda _: answer(b"<html>"), "not a JSON object"),
    "is nested deeply": (CONFIGURATION, lambda _: answer(b"[" * 60_000), "not a JSON object"),
    "redirects": (CONFIGURATION, lambda it: answer(b"", 302, Location=it.url + KEYS), "redirect"),
    "is huge": (CONFIGURATION, lambda _: answer(b" " * (1 << 20)), "larger than 65536"),
    "fails": (CONFIGURATION, lambda _: answer(b"", 500), "500"),
    "is slow": (CONFIGURATION, lambda _: answer(b"{}", **{"Content-Length": ""}), "took longer"),
    "has keys elsewhere without HTTPS": (
        CONFIGURATION,
        lambda it: answer(json.dumps({"issuer": it.url, "jwks_uri": "http://192.0.2.1/keys"}).encode()),
        "without HTTPS",
    ),
    "has keys that redirect": (KEYS, lambda it: answer(b"", 302, Location=it.url + CONFIGURATION), "redirect"),
    "has huge keys": (KEYS, lambda _: answer(b" " * (1 << 20)), "larger than 262144"),
    "has keys that are slow": (KEYS, lambda _: answer(b"{", **{"Content-Length": ""}), "took longer"),
    "has no keys": (KEYS, lambda _: answer(b'{"keys": {}}'), "no list of keys"),
    "has thousands of keys": (KEYS, lambda _: answer(b'{"keys": [' + b"{}," * 3000 + b"{}]}"), "more than 100 keys"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD_ISSUERS)
@pytest.mark.usefixtures("publisher")
def test_an_issuer_without_usable_keys_is_named(
    issuer: Issuer, exchange: Exchange, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, make, expected = BAD_ISSUERS[kind]
    issuer.answers[path] = make(issuer)
    if kind.endswith("slow"):
        issuer.ended.clear()
        monkeypatch.setattr(discovery, "PAGE_SECONDS", 0.2)

    assert expected in refusal(exchange, issuer.token())


def test_an_issuer_that_is_not_listed_is_not_asked_at_a_private_address(
    issuer: Issuer, publisher: TrustedPublisher, exchange: Exchange
) -> None:
    instance.change_instance(InstanceChanges(oidc_trusted_issuers=[]), by=SHELL)

    for url in (issuer.url, issuer.url.replace("http:", "https:"), "https://127.0.0.1:1"):
        publisher.issuer = url
        factories.commit()
        assert f"have not listed {url}" in refusal(exchange, issuer.token(iss=url))
        with pytest.raises(SourceError, match="without HTTPS" if url == issuer.url else discovery.UNREACHABLE):
            discovery.published_keys(url, is_listed=False)  # as for a name that leads to such an address
    assert issuer.requests == []


def test_keys_of_an_issuer_that_had_to_be_listed_are_forgotten_when_it_no_longer_is(
    issuer: Issuer, clock: Clock
) -> None:
    issuers = Issuers(clock)
    issuers.key(issuer.url, "first", [issuer.url])

    with pytest.raises(Unavailable):
        issuers.key(issuer.url, "first", [])
    clock.seconds += keys.PAUSE_SECONDS
    with pytest.raises(IssuerNotUsable):
        issuers.key(issuer.url, "first", [])

    assert issuer.requests == [CONFIGURATION, KEYS]


@pytest.mark.usefixtures("publisher")
def test_a_token_of_an_issuer_that_is_no_longer_listed_is_refused(issuer: Issuer, exchange: Exchange) -> None:
    instance.change_instance(InstanceChanges(oidc_trusted_issuers=["https://gitlab.com"]), by=SHELL)

    assert f"have not listed {issuer.url}" in refusal(exchange, issuer.token())


@pytest.mark.parametrize("kind", ["too short", "malformed", "symmetric", "for encryption"])
@pytest.mark.usefixtures("publisher")
def test_a_key_that_is_not_usable_verifies_nothing(issuer: Issuer, exchange: Exchange, kind: str) -> None:
    usual = public(KEY)
    issuer.keys = [
        {
            "too short": usual | {"n": usual["n"][:100]},
            "malformed": usual | {"n": "!" * 400},
            "symmetric": {"kty": "oct", "k": usual["n"], "kid": "first"},
            "for encryption": usual | {"use": "enc"},
        }[kind]
    ]

    assert "key" in refusal(exchange, issuer.token())


@pytest.mark.usefixtures("publisher")
def test_keys_are_asked_for_again_at_an_unknown_one_but_not_for_each_token(
    issuer: Issuer, exchange: Exchange, clock: Clock
) -> None:
    issuer.keys, rotated = [public(OTHER_KEYS["ES256"])], issuer.keys
    exchange(signed(issuer.claims(), OTHER_KEYS["ES256"], alg="ES256"))
    issuer.keys = rotated

    for _ in range(2):
        with pytest.raises(IdentityTokenRefused, match="no key with the ID"):
            exchange(issuer.token())
    clock.seconds += PAUSE_SECONDS
    exchange(issuer.token())

    assert issuer.requests == [CONFIGURATION, KEYS] * 2


@pytest.mark.usefixtures("publisher")
def test_a_withdrawn_key_is_accepted_for_an_hour(issuer: Issuer, exchange: Exchange, clock: Clock) -> None:
    exchange(issuer.token())
    issuer.keys = []

    clock.seconds += 3599
    exchange(issuer.token())
    clock.seconds += 1

    with pytest.raises(IdentityTokenRefused, match="no key with the ID"):
        exchange(issuer.token())


@pytest.mark.usefixtures("publisher")
def test_known_keys_are_accepted_for_a_day_while_the_issuer_fails(
    issuer: Issuer, exchange: Exchange, clock: Clock
) -> None:
    exchange(issuer.token())
    issuer.answers[CONFIGURATION] = answer(b"", 500)

    clock.seconds += KEPT_SECONDS - 1
    exchange(issuer.token())
    with pytest.raises(IssuerNotUsable, match="500"):
        exchange(unsigned(issuer.claims(), alg="RS256", kid="other"))
    clock.seconds += 1
    with pytest.raises(IssuerNotUsable, match="500"):
        exchange(issuer.token())


def test_a_slow_issuer_holds_up_neither_its_known_keys_nor_other_issuers(
    issuer: Issuer, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discovery, "PAGE_SECONDS", 60)
    monkeypatch.setattr(keys, "WAIT_SECONDS", 0.01)
    issuers = Issuers(clock)
    with issuer_running() as slow, ThreadPoolExecutor() as threads:
        listed = [slow.url, issuer.url]
        issuers.key(slow.url, "first", listed)
        clock.seconds += KEYS_SECONDS
        slow.answers[CONFIGURATION] = answer(
            json.dumps(slow.document(CONFIGURATION)).encode(), **{"Content-Length": ""}
        )
        slow.ended.clear()
        refreshing = threads.submit(issuers.key, slow.url, "first", listed)
        while len(slow.requests) < 3:
            time.sleep(0.01)

        for _ in range(CONCURRENT_REQUESTS):
            assert issuers.key(slow.url, "first", listed)["kid"] == "first"
            with pytest.raises(Unavailable):
                issuers.key(slow.url, "other", listed)
        assert issuers.key(issuer.url, "first", listed)["kid"] == "first"

        slow.ended.set()
        assert refreshing.result()["kid"] == "first"
        assert slow.requests == [CONFIGURATION, KEYS] * 2


def test_an_issuer_that_users_name_makes_no_room_for_itself_among_listed_ones(
    issuer: Issuer, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "KEPT_ISSUERS", 2)
    issuers, listed = Issuers(clock), [issuer.url]
    issuers.key(issuer.url, "first", listed)

    for port in (1, 2, 1):
        with pytest.raises(IssuerNotUsable):
            issuers.key(f"https://127.0.0.1:{port}", "first", listed)
    issuers.key(issuer.url, "first", listed)

    assert issuer.requests == [CONFIGURATION, KEYS]


def test_an_issuer_whose_keys_had_to_make_room_is_not_asked_more_often(
    issuer: Issuer, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "KEPT_ISSUERS", 1)
    issuers = Issuers(clock)
    with issuer_running() as other:
        for each in (issuer, other, issuer):
            with pytest.raises(IdentityTokenRefused if each.requests == [] else Unavailable):
                issuers.key(each.url, "other", [issuer.url, other.url])

    assert issuer.requests == [CONFIGURATION, KEYS]


@pytest.mark.usefixtures("publisher")
def test_wrong_signatures_slow_an_address_down_and_other_refusals_do_not(
    issuer: Issuer, exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.domain.accounts.sign_in.FREE_FAILED_EXCHANGES_BY_ADDRESS", 2)
    moment, once = utcnow(), issuer.token()
    exchange(once, now=moment)
    for harmless in (
        once,
        "guess",
        issuer.token(iss="https://issuer.test"),
        issuer.token(ref="x"),
        issuer.token(exp=1),
    ):
        with pytest.raises(IdentityTokenRefused):
            exchange(harmless, now=moment)
    for _ in range(2):
        with pytest.raises(IdentityTokenRefused):
            exchange(signed(issuer.claims(), FOREIGN), now=moment)
        exchange(issuer.token(), now=moment, address="192.0.2.8")

    with pytest.raises(TooManyRequests):
        exchange(issuer.token(), now=moment)

    exchange(issuer.token(), now=moment, address="192.0.2.8")


@pytest.mark.usefixtures("publisher")
def test_an_issuer_that_fails_slows_no_address_down(
    issuer: Issuer, exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.domain.accounts.sign_in.FREE_FAILED_EXCHANGES_BY_ADDRESS", 1)
    issuer.answers[KEYS] = answer(b"", 500)
    moment = utcnow()

    for _ in range(3):
        with pytest.raises(IssuerNotUsable):
            exchange(issuer.token(), now=moment)


def test_rows_that_are_of_no_use_any_more_leave(
    issuer: Issuer, publisher: TrustedPublisher, exchange: Exchange
) -> None:
    first, _ = exchange(issuer.token())
    first_id = first.id

    exchange(issuer.token(exp=now(86400 * 9)), now=utcnow() + timedelta(days=8))

    remaining = db.session.scalars(select(PublishingToken.id)).all()
    assert first_id not in remaining
    assert len(remaining) == len(db.session.scalars(select(UsedIdentityToken.key)).all()) == 1
    assert publisher.id
