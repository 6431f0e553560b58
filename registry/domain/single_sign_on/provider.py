"""The identity provider: its endpoints (OpenID Connect Discovery), and sign-ins by authorization code.

Administrators configure it, so it can be in a private network. Its responses are bounded in time and size, and nothing
is asked of it before the first sign-in: the registry starts and works without it.
"""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus, urlencode

from registry.domain.oidc import identity_tokens
from registry.domain.oidc.claims import read_object
from registry.domain.oidc.keys import Issuers
from registry.domain.single_sign_on.persons import Person, from_claims
from registry.errors import (
    BadRequest,
    Code,
    IdentityTokenRefused,
    IssuerNotUsable,
    ProviderAway,
    SignInCodeRefused,
    SourceError,
)

if TYPE_CHECKING:
    from registry.domain.http import ResponseError

FRESH_SECONDS = 3600  # after which the endpoints are asked for again
KEPT_SECONDS = 86400  # for which they are used while the provider does not deliver them
PAUSE_SECONDS = 5  # between requests for them that failed
WAIT_SECONDS = 3  # for the request of another thread
FIRST_BYTE_SECONDS, PAGE_SECONDS = 5, 8
MAX_RESPONSE_BYTES = 256 << 10  # tokens can list hundreds of groups
LONGEST_HINT = 4096  # characters of an ID token in a URL
LEEWAY_SECONDS = 60
_OF_CLIENT = (b'"invalid_client"', b'"unauthorized_client"')  # errors about the registry, not about a code
_SUBJECT = re.compile(r"[ -~]{1,255}")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Attempt:
    """The secrets of a sign-in, which stay in the session of the browser that has begun it (RFC 9700, section 2.1)."""

    state: str
    nonce: str
    verifier: str

    @classmethod
    def new(cls) -> Attempt:
        return cls(*(secrets.token_urlsafe(32) for _ in range(3)))


@dataclass(frozen=True)
class SignedInPerson:
    """A person whom the provider has signed in, and the ID token, which ends the session there."""

    person: Person
    id_token: str


@dataclass(frozen=True)
class _Endpoints:
    """The configuration that a provider publishes.

    :ivar accepts_basic: whether the secret of a client can be in the header of the request, like ``accepts_posted`` in
        its body.
    :ivar names_itself: whether its redirects name it (RFC 9207).
    """

    authorization: str
    token: str
    userinfo: str | None
    end_session: str | None
    accepts_basic: bool
    accepts_posted: bool
    names_itself: bool


class Provider:
    """The identity provider of the configuration; thread-safe.

    :param clock: returns seconds that only increase.
    """

    def __init__(
        self,
        issuer: str,
        client_id: str,
        client_secret: str,
        *,
        scopes: str,
        groups_claim: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.issuer, self._client_id, self._client_secret = issuer, client_id, client_secret
        self._scopes, self._groups_claim, self._clock = scopes, groups_claim, clock
        self._lock = Lock()
        self._endpoints: _Endpoints | None = None
        self._received_at = self._failed_at = float("-inf")
        self._keys = Issuers(clock)

    def sign_in_url(self, attempt: Attempt, return_url: str, language: str) -> str:
        """Return the URL where the provider signs a person in, and then returns to ``return_url``.

        :raises ProviderAway: its endpoints are not known.
        """
        # Imported at the first sign-in, as the library loads its cryptography.
        from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
        from authlib.oauth2.rfc7636 import create_s256_code_challenge

        url: str = prepare_grant_uri(
            self._known().authorization, self._client_id, "code", redirect_uri=return_url, scope=self._scopes,
            state=attempt.state, nonce=attempt.nonce, code_challenge=create_s256_code_challenge(attempt.verifier),
            code_challenge_method="S256", ui_locales=language,
        )  # fmt: skip
        return url

    def sign_out_url(self, id_token: str, return_url: str) -> str | None:
        """Return the URL that ends the session at the provider; ``None`` if there is none, or the provider is away.

        :param id_token: from the sign-in.
        """
        try:
            endpoint = self._known().end_session
        except ProviderAway:
            return None
        if endpoint is None:
            return None
        hint = {"id_token_hint": id_token} if len(id_token) <= LONGEST_HINT else {}
        query = urlencode({**hint, "client_id": self._client_id, "post_logout_redirect_uri": return_url})
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{query}"

    def refuse_other_issuer(self, issuer: str | None) -> None:
        """Refuse a redirect in the name of another provider (RFC 9207, section 2.4).

        :param issuer: that the redirect names.
        :raises BadRequest: it is another one, or missing although the provider always names itself.
        """
        if issuer != self.issuer and (issuer is not None or self._known().names_itself):
            raise _invalid("the redirect names another issuer, or none (iss)")

    def person(self, code: str, attempt: Attempt, return_url: str) -> SignedInPerson:
        """Return the person for whom the provider has issued a code to the browser of an attempt.

        :param code: from the redirect; empty if it has none.
        :raises BadRequest: the provider does not accept the code, or its answer is not valid; the log has the reason.
        :raises ProviderAway: it does not answer.
        """
        if not code:
            raise _invalid("the redirect has no code")
        try:
            return self._person(code, attempt, return_url)
        except SourceError as error:
            raise self._away(error) from error

    def _person(self, code: str, attempt: Attempt, return_url: str) -> SignedInPerson:
        endpoints = self._known()
        granted = self._exchanged(endpoints, code, attempt, return_url)
        id_token, access_token = granted.get("id_token"), granted.get("access_token")
        if not isinstance(id_token, str) or not isinstance(access_token, str):
            raise _invalid("the token response has no ID token, or no access token")
        claims = self._verified(id_token, access_token, attempt.nonce)
        if endpoints.userinfo is not None:
            more = self._asked(endpoints.userinfo, headers={"Authorization": f"Bearer {access_token}"})
            if more.get("sub") != claims["sub"]:  # OpenID Connect Core, section 5.3.2
                raise _invalid("the UserInfo response is about another subject (sub)")
            claims = {**more, **claims}
        return SignedInPerson(from_claims(self.issuer, claims, self._groups_claim), id_token)

    def _exchanged(self, endpoints: _Endpoints, code: str, attempt: Attempt, return_url: str) -> dict[str, Any]:
        """Return the tokens for a code."""
        from authlib.oauth2.rfc6749.parameters import prepare_token_request

        form = prepare_token_request(
            "authorization_code", redirect_uri=return_url, code=code, code_verifier=attempt.verifier
        )
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        url, headers, form = self._client(endpoints).prepare("POST", endpoints.token, headers, form)
        try:
            return self._asked(url, headers=headers, form=form)
        except _Refused as error:
            if error.is_about_registry:
                raise
            raise SignInCodeRefused from error

    def _client(self, endpoints: _Endpoints) -> Any:
        """Return what authenticates the registry to the provider.

        Basic authentication is preferred, as all providers should accept it. But not all of them decode the ID and the
        secret, which RFC 6749, section 2.3.1, encodes: if that changes them, they are in the body instead.
        """
        from authlib.oauth2.auth import ClientAuth

        plain = self._client_id, self._client_secret
        encoded = quote_plus(self._client_id), quote_plus(self._client_secret)
        if endpoints.accepts_basic and (encoded == plain or not endpoints.accepts_posted):
            return ClientAuth(*encoded, "client_secret_basic")
        return ClientAuth(*plain, "client_secret_post")

    def _asked(self, url: str, *, headers: Mapping[str, str], form: str | None = None) -> dict[str, Any]:
        """Return the JSON object at a URL.

        :raises BadRequest: the response is an error that names the request as its cause, or no JSON object.
        :raises SourceError: there is no response.
        """
        from registry.domain.http import Client, Patience, ResponseError  # the HTTP client takes long to import
        from registry.domain.oidc.discovery import ServerGate

        patience = Patience(FIRST_BYTE_SECONDS, PAGE_SECONDS, attempts=1, rate_limited_attempts=1)
        client = Client(url, patience=patience, gatekeeper=ServerGate(is_listed=True), redirects=0)
        try:
            return read_object(client.ask(url, headers=headers, form=form, max_bytes=MAX_RESPONSE_BYTES))
        except ResponseError as error:
            if error.status < 500:
                raise _Refused(error) from error
            raise
        except ValueError as error:
            raise _invalid(f"a response is not a JSON object: {error}") from error
        finally:
            client.close()

    def _verified(self, id_token: str, access_token: str, nonce: str) -> dict[str, Any]:
        """Return the claims of an ID token (OpenID Connect Core, section 3.1.3.7)."""
        from authlib.oidc.core import CodeIDToken
        from joserfc.errors import JoseError

        try:
            sent = identity_tokens.read(id_token, max_bytes=MAX_RESPONSE_BYTES, names_key=False)
            if sent.issuer != self.issuer:
                raise _invalid("the ID token has another issuer (iss)")
            if not identity_tokens.is_signed(sent, self._keys.key(self.issuer, sent.key_id, (self.issuer,))):
                raise _invalid("the signature of the ID token is not one of the provider's key")
        except IssuerNotUsable as error:
            raise self._away(error) from error
        except IdentityTokenRefused as error:
            raise _invalid(error.sentence) from error
        claims = CodeIDToken(
            sent.claims, {"alg": sent.algorithm}, {"aud": {"essential": True, "value": self._client_id}},
            {"nonce": nonce, "client_id": self._client_id, "access_token": access_token},
        )  # fmt: skip
        try:
            claims.validate(leeway=LEEWAY_SECONDS)
        except (JoseError, TypeError, ValueError) as error:  # claims of another type than expected
            raise _invalid(f"a claim of the ID token is not valid: {error}") from error
        subject = claims["sub"]
        if not isinstance(subject, str) or not _SUBJECT.fullmatch(subject):
            raise _invalid("the ID token has no subject of 1 to 255 printable ASCII characters (sub)")
        return dict(claims)

    def _known(self) -> _Endpoints:
        """Return the endpoints, which are asked for if they are not known, or were received long ago.

        :raises ProviderAway: they are not known.
        """
        if self._endpoints is not None and self._clock() < self._received_at + FRESH_SECONDS:
            return self._endpoints
        if self._lock.acquire(timeout=WAIT_SECONDS if self._endpoints is None else 0):
            try:
                self._refresh()
            finally:
                self._lock.release()
        if self._endpoints is None or self._clock() >= self._received_at + KEPT_SECONDS:
            raise ProviderAway
        return self._endpoints

    def _refresh(self) -> None:
        now = self._clock()
        if now < max(self._received_at + FRESH_SECONDS, self._failed_at + PAUSE_SECONDS):
            return
        from registry.domain.oidc.discovery import configuration

        try:
            self._endpoints = _endpoints(configuration(self.issuer))
            self._received_at = now
        except SourceError as error:
            self._failed_at = self._clock()
            self._away(error)

    def _away(self, error: Exception) -> ProviderAway:
        """Log why the provider cannot be used, and return the error for its users."""
        logger.warning("The identity provider %s is not usable: %s", self.issuer, getattr(error, "sentence", error))
        return ProviderAway()


def _endpoints(document: Mapping[str, Any]) -> _Endpoints:
    """Return the endpoints in the configuration of a provider.

    :raises SourceError: one is missing, or has an address without HTTPS.
    """
    methods = document.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
    if not isinstance(methods, list) or not {"client_secret_basic", "client_secret_post"} & set(map(str, methods)):
        raise SourceError("it accepts no client secrets (token_endpoint_auth_methods_supported)")
    return _Endpoints(
        authorization=_required(document, "authorization_endpoint"),
        token=_required(document, "token_endpoint"),
        userinfo=_optional(document, "userinfo_endpoint"),
        end_session=_optional(document, "end_session_endpoint"),
        accepts_basic="client_secret_basic" in methods,
        accepts_posted="client_secret_post" in methods,
        names_itself=document.get("authorization_response_iss_parameter_supported") is True,
    )


def _required(document: Mapping[str, Any], name: str) -> str:
    url = _optional(document, name)
    if url is None:
        raise SourceError(f"its configuration has no {name}")
    return url


def _optional(document: Mapping[str, Any], name: str) -> str | None:
    from registry.domain.http import split
    from registry.domain.oidc.discovery import ServerGate

    url = document.get(name)
    if url is None:
        return None
    if not isinstance(url, str) or not re.fullmatch(r"[!-~]+", url) or "#" in url:
        raise SourceError(f"its {name} is not a URL")
    split(url)
    ServerGate(is_listed=True).refuse_url(url)
    return url


def _invalid(reason: str) -> BadRequest:
    logger.warning("A sign-in at the identity provider was refused: %s", reason)
    return BadRequest(Code.SIGN_IN_INVALID)


class _Refused(BadRequest):
    """The provider has answered a request with an error that names the request as its cause.

    :ivar is_about_registry: whether it refuses the registry and not the code (RFC 6749, section 5.2).
    """

    def __init__(self, response: ResponseError) -> None:
        super().__init__(Code.SIGN_IN_INVALID)
        logger.warning(
            "A sign-in at the identity provider was refused: %s, %s", response.sentence, ascii(response.body[:300])
        )
        self.is_about_registry = response.status == 401 or any(code in response.body for code in _OF_CLIENT)
