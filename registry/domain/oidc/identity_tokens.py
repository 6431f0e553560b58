"""Identity tokens: JSON Web Tokens in which a CI system states on whose behalf a job runs (RFC 7519, RFC 8725).

Nothing of a token counts before its signature was verified, except its issuer, which decides whose keys are needed.
"""

from __future__ import annotations

import binascii
import re
from base64 import urlsafe_b64decode
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from registry.domain.issuers import is_issuer
from registry.domain.oidc.claims import read_object
from registry.domain.oidc.keys import Issuers, Key
from registry.errors import IdentityTokenRefused

MAX_TOKEN_BYTES = 8192
# Signatures with public keys only; a secret that is shared with the issuer could be its published key.
ALGORITHMS = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"}
)
LEEWAY = timedelta(seconds=60)
LONGEST_LIFE = timedelta(days=32)  # CI jobs take up to a month
LONGEST_TEXT = 255
RSA_BITS = range(2048, 8193)
_COMPACT = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)", re.ASCII)


@dataclass(frozen=True)
class SentToken:
    """A token as sent, nothing of which is verified."""

    issuer: str
    key_id: str
    algorithm: str
    claims: Mapping[str, Any]
    signed: bytes
    signature: bytes


@dataclass(frozen=True)
class IdentityToken:
    """A verified token.

    :ivar key: a digest of its issuer and ``jti``, by which it is recognized when it is sent again.
    """

    issuer: str
    subject: str
    claims: Mapping[str, Any]
    key: str
    expires_at: datetime


def read(text: str, *, max_bytes: int = MAX_TOKEN_BYTES, names_key: bool = True) -> SentToken:
    """Return the parts of a token.

    :param names_key: whether the token has to name its key, as that of an issuer with several keys (OpenID Connect
        Core, section 10.1).
    :raises IdentityTokenRefused: it is too long or malformed, or has an algorithm that is not accepted.
    """
    if len(text) > max_bytes:
        raise _refused(f"It is longer than {max_bytes} characters")
    parts = _COMPACT.fullmatch(text)
    if parts is None:
        raise _refused("It does not consist of three parts in base64url")
    try:
        header, claims = read_object(_decoded(parts[1])), read_object(_decoded(parts[2]))
        signature = _decoded(parts[3])
    except ValueError as error:
        raise _refused("Its header or claims are not a JSON object without duplicate names") from error
    algorithm, key_id, issuer = header.get("alg"), header.get("kid"), claims.get("iss")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise _refused(f"Its algorithm is not one of {', '.join(sorted(ALGORITHMS))}")
    if "crit" in header:
        raise _refused("Its header has extensions that are not supported (crit)")
    if key_id is None and not names_key:
        key_id = ""
    if not isinstance(key_id, str):
        raise _refused("Its header does not name a key (kid)")
    if not isinstance(issuer, str) or not is_issuer(issuer, is_listed=True):
        raise _refused("It has no issuer that is a URL (iss)")
    return SentToken(issuer, key_id, algorithm, claims, text.rpartition(".")[0].encode(), signature)


def require_signature(sent: SentToken, issuers: Issuers, listed: Collection[str]) -> None:
    """Require that a token was signed by its issuer.

    :param listed: the issuers that administrators have listed.
    :raises IdentityTokenRefused: the issuer has no such key, or the signature is not one of it.
    :raises IssuerNotUsable: its issuer does not deliver its keys.
    :raises Unavailable: its issuer, or too many others, are being asked for their keys.
    """
    if not is_signed(sent, issuers.key(sent.issuer, sent.key_id, listed)):
        raise _refused("Its signature is not one of the issuer's key")


def verified(sent: SentToken, *, audience: str, now: datetime) -> IdentityToken:
    """Return a token with valid standard claims, whose signature was verified.

    :raises IdentityTokenRefused: it is not valid.
    """
    claims = sent.claims
    audiences = claims.get("aud")
    if audience not in (audiences if isinstance(audiences, list) else [audiences]):
        raise _refused(f"It is meant for another audience than {audience} (aud)")
    expires_at, issued_at = _moment(claims, "exp"), _moment(claims, "iat")
    if expires_at <= now - LEEWAY:
        raise _refused(f"It expired at {expires_at:%Y-%m-%d %H:%M:%S} UTC (exp)")
    if expires_at > now + LONGEST_LIFE:
        raise _refused(f"It is valid for longer than {LONGEST_LIFE.days} days (exp)")
    if issued_at > now + LEEWAY:
        raise _refused("It was issued in the future (iat)")
    if "nbf" in claims and _moment(claims, "nbf") > now + LEEWAY:
        raise _refused("It is not valid yet (nbf)")
    number = _text(claims, "jti")
    key = sha256(f"{sent.issuer}\n{number}".encode("utf-8", "surrogatepass")).hexdigest()
    return IdentityToken(sent.issuer, _text(claims, "sub"), claims, key, expires_at)


def is_signed(sent: SentToken, key: Key) -> bool:
    """Return whether the signature of a token is one of this key."""
    # Imported at the first token: the library loads its cryptography, which no other request needs.
    from joserfc.errors import JoseError
    from joserfc.jwk import import_key
    from joserfc.jws import JWSRegistry

    if key.get("kty") not in ("RSA", "EC", "OKP") or (key["kty"] == "RSA" and not _is_long_enough(key)):
        return False
    algorithm = JWSRegistry.algorithms[sent.algorithm]
    try:
        public_key = import_key(key)
        algorithm.check_key(public_key)
        return bool(algorithm.verify(sent.signed, sent.signature, public_key))
    except (JoseError, ValueError, TypeError, KeyError):  # the key is malformed, or one of another algorithm
        return False


def _is_long_enough(key: Key) -> bool:
    modulus, exponent = key.get("n"), key.get("e")
    if not isinstance(modulus, str) or not isinstance(exponent, str) or len(exponent) > 8:
        return False
    try:
        return int.from_bytes(_decoded(modulus), "big").bit_length() in RSA_BITS
    except ValueError:
        return False


def _decoded(part: str) -> bytes:
    """Return the bytes of a part in base64url without padding.

    :raises ValueError: it is something else.
    """
    try:
        return urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except binascii.Error as error:
        raise ValueError("it is not base64url") from error


def _moment(claims: Mapping[str, Any], name: str) -> datetime:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _refused(f"It has no time as {name}")
    try:
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise _refused(f"It has no time as {name}") from error


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not value or len(value) > LONGEST_TEXT:
        raise _refused(f"It has no {name} of 1 to {LONGEST_TEXT} characters")
    return value


def _refused(reason: str) -> IdentityTokenRefused:
    return IdentityTokenRefused("invalid-token", f"The identity token is not valid: {reason[0].lower()}{reason[1:]}.")
