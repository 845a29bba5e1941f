"""Invalid tokens, each with a name: known attacks on servers that check too little."""

import base64
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.attacks.people import Victim
from tests.attacks.served import SERVICE_KEY, Deployment
from tests.support.keys import claims

_WRONG_CLAIMS: dict[str, dict[str, Any]] = {
    "expired": {"exp": datetime.now(UTC) - timedelta(minutes=5)},
    "expired long ago": {"exp": 1},
    "no expiry": {"exp": None},
    "not yet valid": {"nbf": datetime.now(UTC) + timedelta(hours=1)},
    "another audience": {"aud": "elsewhere"},
    "the anonymous audience": {"aud": "anon"},
    "no audience": {"aud": None},
    "another issuer": {"iss": "https://elsewhere.supabase.co/auth/v1"},
    "an issuer with more behind it": {"iss": "https://elsewhere.supabase.co/auth/v1/"},
    "no issuer": {"iss": None},
    "the role anon": {"role": "anon"},
    "the role service_role": {"role": "service_role"},
    "the role postgres": {"role": "postgres"},
    "no role": {"role": None},
    "a list of roles": {"role": ["authenticated", "service_role"]},
    **{
        f"the subject {subject!r}": {"sub": subject}
        for subject in ("", " ", "*", "%", "system", "alice", "null", "../", "' OR 1=1 --", "{}")
    },
    "no subject": {"sub": None},
}


def _part(content: object) -> bytes:
    return base64.urlsafe_b64encode(
        content if isinstance(content, bytes) else json.dumps(content).encode()
    ).rstrip(b"=")


def _signed(header: dict[str, Any], body: dict[str, Any], key: bytes | None) -> str:
    """Return a token built by hand, which no library would sign."""
    numbers = {
        name: int(value.timestamp()) if isinstance(value, datetime) else value
        for name, value in body.items()
    }
    signed = _part(header) + b"." + _part(numbers)
    return (
        signed + b"." + (_part(hmac.digest(key, signed, "sha256")) if key is not None else b"")
    ).decode()


def forged(at: Deployment, victim: Victim) -> dict[str, str]:
    """Return tokens in a victim's name, by the name of their defect."""
    body = claims(at.keys, sub=victim.id)
    service = body | {"role": "service_role"}
    public = at.private.public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    published = at.keys.keys[0]
    stranger, other = (
        ec.generate_private_key(ec.SECP256R1()),
        rsa.generate_private_key(public_exponent=65537, key_size=2048),
    )
    own_key = jwt.algorithms.ECAlgorithm.to_jwk(stranger.public_key(), as_dict=True)
    good = jwt.encode(body, at.private, algorithm="ES256", headers={"kid": "k1"})
    start, middle, end = good.split(".")
    claimed = json.loads(base64.urlsafe_b64decode(middle + "=="))
    return {
        **{
            name: at.token(victim.id, **changed)
            for name, changed in _WRONG_CLAIMS.items()
            if "sub" not in changed
        },
        **{
            name: jwt.encode(
                claims(at.keys, **changed), at.private, algorithm="ES256", headers={"kid": "k1"}
            )
            for name, changed in _WRONG_CLAIMS.items()
            if "sub" in changed
        },
        **{
            f"alg {alg}": _signed({"alg": alg, "kid": "k1"}, body, None)
            for alg in ("none", "None", "NONE", "nOnE", "")
        },
        "no alg": _signed({"kid": "k1"}, body, None),
        "alg none for the service": _signed({"alg": "none"}, service, None),
        **{
            f"HS256 with {name}": _signed({"alg": "HS256", "kid": "k1"}, body, key)
            for name, key in {
                "the public key as PEM": pem,
                "the public key as DER": der,
                "the published JWK": json.dumps(published).encode(),
                "the key's x": published["x"].encode(),
                "an empty secret": b"",
                "the key's id": b"k1",
                "secret": b"secret",
                "Supabase's example": b"super-secret-jwt-token-with-at-least-32-characters-long",
            }.items()
        },
        "HS512 with the public key": _signed({"alg": "HS512", "kid": "k1"}, body, pem),
        "the service, signed by nobody": _signed(
            {"alg": "HS256", "typ": "JWT"}, service, b"nobody"
        ),
        "another's key, our key's id": jwt.encode(
            body, stranger, algorithm="ES256", headers={"kid": "k1"}
        ),
        "another's key, no id": jwt.encode(body, stranger, algorithm="ES256"),
        "another's key in the header": jwt.encode(
            body, stranger, algorithm="ES256", headers={"kid": "k1", "jwk": own_key}
        ),
        "a key address in the header": jwt.encode(
            body,
            stranger,
            algorithm="ES256",
            headers={"kid": "k1", "jku": "http://127.0.0.1:9/jwks.json"},
        ),
        "RS256 under an ES256 key": jwt.encode(
            body, other, algorithm="RS256", headers={"kid": "k1"}
        ),
        "PS256": jwt.encode(body, other, algorithm="PS256", headers={"kid": "k1"}),
        "ES384 in name": _signed({"alg": "ES384", "kid": "k1"}, body, b"x"),
        "a critical header": jwt.encode(
            body, at.private, algorithm="ES256", headers={"kid": "k1", "crit": ["x"], "x": 1}
        ),
        **{
            f"the key id {kid!r}": jwt.encode(
                body, stranger, algorithm="ES256", headers={"kid": kid}
            )
            for kid in ("../../dev/null", "k1' OR '1'='1", "k1\x00", "*", "")
        },
        "a zero signature": f"{start}.{middle}.{_part(bytes(64)).decode()}",
        "no signature": f"{start}.{middle}.",
        "two parts": f"{start}.{middle}",
        "four parts": f"{good}.{end}",
        "another body": f"{start}.{_part(claimed | {'role': 'service_role'}).decode()}.{end}",
        "a body that is no object": f"{start}.{_part([victim.id]).decode()}.{end}",
        "an unreadable header": f"{_part(b'{').decode()}.{middle}.{end}",
        "very long": good + "A" * 8000,
        "the victim's id": victim.id,
        "system": "system",
        "the word undefined": "undefined",
        "a part of the service key": SERVICE_KEY[:-1],
        "the service key and more": SERVICE_KEY + "x",
        "the service key in capitals": SERVICE_KEY.upper(),
    }


def unknown_keys(at: Deployment, victim: Victim, how_many: int) -> list[str]:
    """Return many tokens, each with an unknown key id."""
    stranger = ec.generate_private_key(ec.SECP256R1())
    body = claims(at.keys, sub=victim.id)
    return [
        jwt.encode(body, stranger, algorithm="ES256", headers={"kid": f"unknown{n}"})
        for n in range(how_many)
    ]


WAYS: dict[str, Any] = {
    "Authorization": lambda token: {"Authorization": f"Bearer {token}"},
    "X-Api-Key": lambda token: {"X-Api-Key": token},
    "x-auth-scheme: langsmith": lambda token: {
        "Authorization": f"Bearer {token}",
        "X-Api-Key": token,
        "x-auth-scheme": "langsmith",
        "x-user-id": token[:100],
        "x-tenant-id": token[:100],
    },
}
"""Headers in which a token may be sent."""

HEADERS_ALONE: tuple[dict[str, str], ...] = (
    {"x-auth-scheme": "langsmith"},
    {"x-auth-scheme": "langsmith", "x-api-key": "anything"},
    {"x-auth-scheme": "langsmith-agent", "x-service-key": "anything"},
    {"x-service-key": "anything"},
    {"x-user-id": "{id}", "langgraph-auth-user-id": "{id}"},
    {"x-forwarded-user": "{id}", "x-real-user": "{id}", "remote-user": "{id}"},
    {"Authorization": "Bearer"},
    {"Authorization": "Bearer  "},
    {"Authorization": "Basic c3lzdGVtOg=="},
    {"Authorization": "{id}"},
    {"Cookie": "sb-access-token={id}; access_token={id}"},
    {"x-forwarded-for": "127.0.0.1", "x-original-url": "/ok"},
    {"x-http-method-override": "GET"},
)
"""Headers that grant access without a token in other products."""
