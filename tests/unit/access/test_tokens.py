"""A token proves what its issuer signed, or nothing."""

import base64
import json
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import OKPAlgorithm, RSAAlgorithm

from services.access.roles import Grant, Role
from services.access.rules import AccessRules
from services.access.tokens import (
    LOCAL_ISSUER,
    Issuer,
    PublishedKeys,
    TokenRefused,
    local_issuer,
    mint,
    read_token,
    token_for,
    token_key_path,
)
from services.contracts.errors import BadUsage, MissingModel
from services.settings import Settings, read_settings

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
ED = ed25519.Ed25519PrivateKey.generate()
NAME = "https://id.example.org"
PEM = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def jwks() -> dict[str, Any]:
    return {
        "keys": [
            {**RSAAlgorithm.to_jwk(RSA.public_key(), as_dict=True), "kid": "r", "alg": "RS256", "use": "sig"},
            {**OKPAlgorithm.to_jwk(ED.public_key(), as_dict=True), "kid": "e", "alg": "EdDSA", "use": "sig"},
            {"kty": "oct", "k": base64.urlsafe_b64encode(b"s" * 32).decode(), "kid": "s", "alg": "HS256"},
        ]
    }


ISSUER = Issuer(NAME, "whodid", jwt.PyJWKSet.from_dict(jwks()))


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    whole = {"iss": NAME, "aud": "whodid", "sub": "ann", "iat": now, "exp": now + 600}
    whole["whodid_roles"] = ["analyst@north", "auditor@*", "editor@wiki", "default-roles", 7]
    return {name: value for name, value in (whole | changes).items() if value is not None}


def signed(key: Any = RSA, algorithm: str = "RS256", kid: str | None = "r", **changes: Any) -> str:
    return jwt.encode(claims(**changes), key, algorithm=algorithm, headers={"kid": kid} if kid else {})


@pytest.mark.parametrize(("key", "algorithm", "kid"), [(RSA, "RS256", "r"), (ED, "EdDSA", "e")])
def test_a_token_gives_its_subject_and_the_grants_that_are_ours(key: Any, algorithm: str, kid: str) -> None:
    caller = read_token(signed(key, algorithm, kid), [ISSUER])
    assert caller.name == f"ann ({NAME})"
    assert caller.grants == (Grant(Role.ANALYST, "north"), Grant(Role.AUDITOR, "*"))


@pytest.mark.parametrize("listed", [None, "analyst@*", {"analyst": "*"}, [], ["analyst"], ["analyst@"], ["root@*"]])
def test_a_token_without_a_grant_of_ours_grants_nothing(listed: Any) -> None:
    assert read_token(signed(whodid_roles=listed), [ISSUER]).grants == ()


def unsigned(algorithm: str, kid: str = "r") -> str:
    def part(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{part({'alg': algorithm, 'typ': 'JWT', 'kid': kid})}.{part(claims())}."


def confused() -> str:
    """Signed with the issuer's public key as if it were a shared secret."""
    import hashlib
    import hmac

    head, body, _ = unsigned("HS256").split(".")
    signature = hmac.digest(PEM, f"{head}.{body}".encode(), hashlib.sha256)
    return f"{head}.{body}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def tampered() -> str:
    head, _body, signature = signed().split(".")
    raised = base64.urlsafe_b64encode(json.dumps(claims(whodid_roles=["admin@*"])).encode()).rstrip(b"=").decode()
    return f"{head}.{raised}.{signature}"


NOW = int(time.time())
FORGERIES = {
    "none": unsigned("none"),
    "None": unsigned("None"),
    "algorithm confusion": confused(),
    "shared secret in the key set": signed(b"s" * 32, "HS256", "s"),
    "another key": signed(OTHER_RSA),
    "the right key under another kid": signed(RSA, "RS256", "e"),
    "another algorithm of the same key": signed(RSA, "PS256", "r"),
    "another RSA hash": signed(RSA, "RS512", "r"),
    "unknown kid": signed(kid="x"),
    "no kid": signed(kid=None),
    "expired": signed(exp=NOW - 120),
    "not yet": signed(nbf=NOW + 3600),
    "no end": signed(exp=None),
    "no beginning": signed(iat=None),
    "no subject": signed(sub=None),
    "another audience": signed(aud="somebody-else"),
    "no audience": signed(aud=None),
    "another issuer": signed(iss="https://evil.example"),
    "no issuer": signed(iss=None),
    "tampered": tampered(),
    "cut": signed()[:-20],
    "not base64": "a.b.c",
    "empty": "",
    "too long": signed(pad="x" * 9000),
    "own key in the header": jwt.encode(
        claims(), OTHER_RSA, algorithm="RS256",
        headers={"kid": "r", "jwk": RSAAlgorithm.to_jwk(OTHER_RSA.public_key(), as_dict=True)},
    ),
    "keys from elsewhere": jwt.encode(
        claims(), OTHER_RSA, algorithm="RS256", headers={"kid": "r", "jku": "https://evil.example/jwks"}
    ),
}  # fmt: skip


@pytest.mark.parametrize("token", FORGERIES.values(), ids=FORGERIES.keys())
def test_a_token_that_proves_nothing_is_refused(token: str) -> None:
    with pytest.raises(TokenRefused):
        read_token(token, [ISSUER])


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    monkeypatch.setenv("WHODID_HOME", str(tmp_path))
    for name in ("WHODID_ACCESS", "WHODID_TOKEN", "WHODID_SIGNING_KEY"):
        monkeypatch.delenv(name, raising=False)
    return read_settings()


def test_this_machine_mints_what_it_accepts_and_keeps_its_key_to_itself(settings: Settings) -> None:
    token = mint(settings, "guard", [Grant(Role.ANALYST, "north")], valid_for=timedelta(minutes=1))
    caller = read_token(token, [local_issuer(settings)])
    assert (caller.name, caller.grants) == ("guard", (Grant(Role.ANALYST, "north"),))
    assert token_key_path(settings).stat().st_mode & 0o777 == 0o600
    with pytest.raises(TokenRefused):
        read_token(token, [ISSUER])


def test_another_machine_s_tokens_are_refused(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mint(settings, "guard", [], valid_for=timedelta(minutes=1))
    monkeypatch.setenv("WHODID_HOME", str(tmp_path / "other"))
    foreign = mint(read_settings(), "guard", [Grant(Role.ADMIN)], valid_for=timedelta(minutes=1))
    with pytest.raises(TokenRefused, match="kid"):
        read_token(foreign, [local_issuer(settings)])


def test_a_machine_without_a_key_says_how_to_make_one(settings: Settings) -> None:
    with pytest.raises(MissingModel, match="whodid token"):
        local_issuer(settings)


def test_the_command_line_gives_its_own_token_to_this_machine_alone(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert token_for(settings, "http://127.0.0.1:8080") is None
    mint(settings, "guard", [], valid_for=timedelta(minutes=1))
    token = token_for(settings, "http://127.0.0.1:8080")
    assert token is not None
    assert read_token(token, [local_issuer(settings)]).grants == (Grant(Role.ANALYST),)
    assert token_for(settings, "https://whodid.example.org") is None
    assert token_for(settings, "http://127.0.0.1@evil.example") is None
    monkeypatch.setenv("WHODID_TOKEN", "given")
    assert token_for(read_settings(), "https://whodid.example.org") == "given"


def rules(settings: Settings, monkeypatch: pytest.MonkeyPatch, text: str) -> AccessRules | None:
    path = Path(settings.signing_key.parents[1] / "access.toml")
    path.write_text(text)
    path.with_name("jwks.json").write_text(json.dumps(jwks()))
    monkeypatch.setenv("WHODID_ACCESS", str(path))
    return AccessRules.read(read_settings())


def test_rules_come_from_a_file(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    read = rules(
        settings,
        monkeypatch,
        f'[[issuers]]\nissuer = "{NAME}"\naudience = "whodid"\njwks = "jwks.json"\n'
        '[camera_groups]\nnorth = ["gate-1"]\n[limits]\nburst = 5\n',
    )
    assert read is not None
    assert read_token(signed(), read.issuers).name.startswith("ann")
    assert read.camera_groups == {"north": ("gate-1",)}
    assert (read.limits.burst, read.limits.requests_per_minute) == (5, 60)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "nobody could ever get in"),
        ("[[issuers]]\nissuer = 'x'\naudience = 'y'\n", "jwks"),
        ("[[issuers]]\nissuer = 'x'\naudience = 'y'\njwks = 'none.json'\n", "holds no keys"),
        ("[[issuers]]\nissuer = 'x'\naudience = 'y'\njwks = 'http://id.example/keys'\n", "plain http"),
        (f"[[issuers]]\nissuer = '{LOCAL_ISSUER}'\naudience = 'y'\njwks = 'jwks.json'\n", "local = true"),
        ("typo = 1\nlocal = true\n", "typo"),
        ("[[", "cannot be read"),
    ],
)
def test_rules_that_would_not_hold_are_refused_at_start(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, text: str, fault: str
) -> None:
    with pytest.raises(BadUsage, match=fault):
        rules(settings, monkeypatch, text)


def test_an_issuer_that_does_not_answer_lets_nobody_in() -> None:
    silent = Issuer(NAME, "whodid", PublishedKeys("http://127.0.0.1:9/jwks"))
    with pytest.raises(TokenRefused, match="cannot be had"):
        read_token(signed(), [silent])
