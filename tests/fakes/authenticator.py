"""An authenticator with one passkey, as browsers speak to it (W3C, Web Authentication)."""

from __future__ import annotations

import hashlib
import json
import secrets
from typing import Any

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from webauthn.helpers import bytes_to_base64url as encoded

PRESENT, VERIFIED, ATTESTED = 0x01, 0x04, 0x40


class Authenticator:
    """``count`` is the number of its signatures; it stays 0 in those that do not count."""

    def __init__(self, origin: str = "http://localhost", *, verifies_user: bool = True) -> None:
        self.origin, self.host = origin, origin.partition("://")[2].partition(":")[0]
        self.flags = PRESENT | (VERIFIED if verifies_user else 0)
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.id = secrets.token_bytes(32)
        self.count = 0
        point = self.key.public_key().public_numbers()
        self.public_key: Any = {1: 2, 3: -7, -1: 1, -2: point.x.to_bytes(32, "big"), -3: point.y.to_bytes(32, "big")}

    def create(self, options: str) -> str:
        """The answer to the options for a new passkey, in JSON."""
        attested = bytes(16) + len(self.id).to_bytes(2, "big") + self.id + cbor2.dumps(self.public_key)
        data = self._data(ATTESTED) + attested
        attestation = cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data})
        return self._answer("webauthn.create", options, lambda client: {"attestationObject": encoded(attestation)})

    def use(self, options: str) -> str:
        """The answer to the options for the use of a passkey, in JSON."""
        data = self._data()

        def signed(client: bytes) -> dict[str, Any]:
            signature = self.key.sign(data + hashlib.sha256(client).digest(), ec.ECDSA(SHA256()))
            return {"authenticatorData": encoded(data), "signature": encoded(signature), "userHandle": None}

        return self._answer("webauthn.get", options, signed)

    def _data(self, flags: int = 0) -> bytes:
        return hashlib.sha256(self.host.encode()).digest() + bytes([self.flags | flags]) + self.count.to_bytes(4, "big")

    def _answer(self, kind: str, options: str, response: Any) -> str:
        sent = {"type": kind, "challenge": json.loads(options)["challenge"], "origin": self.origin}
        client = json.dumps(sent).encode()
        answer = {"id": encoded(self.id), "rawId": encoded(self.id), "type": "public-key"}
        return json.dumps(answer | {"response": {"clientDataJSON": encoded(client), **response(client)}})
