"""A stub of Supabase Auth's published keys, and tokens with good and bad signatures."""

import base64
import hmac
import json
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa

USER = str(uuid4())


class KeyServer:
    """A server that publishes a key set, counts requests, and can be made to fail."""

    def __init__(self) -> None:
        self.keys: list[dict[str, Any]] = []
        self.asked = 0
        self.status = 200
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked += 1
                content = json.dumps({"keys": outer.keys}).encode()
                self.send_response(
                    outer.status if self.path == "/auth/v1/.well-known/jwks.json" else 404
                )
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def publish(self, key_id: str, algorithm: str = "ES256") -> Any:
        """Make a key pair, publish its public half and return the private one."""
        if algorithm == "ES256":
            private: Any = ec.generate_private_key(ec.SECP256R1())
            public = jwt.algorithms.ECAlgorithm.to_jwk(private.public_key(), as_dict=True)
        else:
            private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
            public = jwt.algorithms.RSAAlgorithm.to_jwk(private.public_key(), as_dict=True)
        self.keys.append({**public, "kid": key_id, "alg": algorithm, "use": "sig"})
        return private

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def claims(keys: KeyServer, **changed: Any) -> dict[str, Any]:
    now = datetime.now(UTC)
    whole = {
        "sub": USER,
        "aud": "authenticated",
        "iss": f"{keys.url}/auth/v1",
        "role": "authenticated",
        "exp": now + timedelta(hours=1),
    }
    return {name: value for name, value in (whole | changed).items() if value is not None}


def hmac_token(body: dict[str, Any], key: bytes) -> str:
    """Return a token with an HMAC by a public key, for a verifier that confuses algorithms."""

    def part(content: bytes) -> bytes:
        return base64.urlsafe_b64encode(content).rstrip(b"=")

    payload = {**body, "exp": int(body["exp"].timestamp())}
    signed = part(b'{"alg":"HS256","kid":"k1"}') + b"." + part(json.dumps(payload).encode())
    return (signed + b"." + part(hmac.digest(key, signed, "sha256"))).decode()
