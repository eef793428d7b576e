"""Tokens: JSON Web Tokens as proof of who asks. Each issuer has its keys, each key one algorithm, an asymmetric one.

The algorithm is the key's, never the token's: a token cannot choose to be checked with `none`, or with a public key
taken for a shared secret. Source: RFC 8725 (JWT best current practices), RFC 7519, RFC 6750.
"""

import getpass
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jwt
from jwt.algorithms import OKPAlgorithm

from services.access.caller import Caller
from services.access.roles import Grant, Role
from services.contracts.errors import BadUsage, MissingModel
from services.settings import Settings
from services.signing import SigningKey, open_signing_key, public_path, read_public_key

LOCAL_ISSUER = "whodid:local"
LOCAL_AUDIENCE = "whodid"
ROLES_CLAIM = "whodid_roles"
_ALGORITHMS = ("EdDSA", "RS256", "PS256", "ES256")
_CLOCK_SKEW_SECONDS = 30
_LONGEST_TOKEN_CHARACTERS = 8192
_KEYS_LIFE_SECONDS = 300
_FETCH_SECONDS = 10
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
# Services check the token again when their turn comes: it must outlast the longest analysis (the graph's serverWrite).
_COMMAND_LIFE = timedelta(hours=2)


class TokenRefused(Exception):
    """The token proves nothing; the message may be told to whoever sent it."""


@dataclass(frozen=True, slots=True)
class Issuer:
    """Somebody whose tokens count.

    Attributes:
        name: The `iss` of its tokens.
        audience: Their `aud`.
        keys: Where its public keys come from.
        roles_claim: The claim that lists `role@group`.
    """

    name: str
    audience: str
    keys: "PublishedKeys | jwt.PyJWKSet"
    roles_claim: str = ROLES_CLAIM

    def read(self, token: str, header: Mapping[str, Any]) -> Caller:
        """Prove a token of this issuer.

        Raises:
            TokenRefused: It is not one, or not for us, or not now.
        """
        key = self._key(header.get("kid"))
        if key.algorithm_name not in _ALGORITHMS:
            raise TokenRefused("its key is a shared secret, or of an algorithm not used here")
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name],
                audience=self.audience,
                issuer=self.name,
                leeway=_CLOCK_SKEW_SECONDS,
                options={"require": ["exp", "iat", "iss", "aud", "sub"]},
            )
        except jwt.ExpiredSignatureError:
            raise TokenRefused("it has expired") from None
        except jwt.InvalidAudienceError:
            raise TokenRefused("it is for another audience") from None
        except (jwt.PyJWTError, ValueError, TypeError):
            raise TokenRefused("it is not valid") from None
        listed = claims.get(self.roles_claim)
        written = [each for each in listed if isinstance(each, str)] if isinstance(listed, list) else []
        grants = tuple(grant for each in written if (grant := Grant.parse(each)) is not None)
        name = claims["sub"] if self.name == LOCAL_ISSUER else f"{claims['sub']} ({self.name})"
        return Caller(name, grants=grants)

    def _key(self, kid: object) -> jwt.PyJWK:
        keys = self.keys.get() if isinstance(self.keys, PublishedKeys) else self.keys
        for key in keys.keys:
            if key.key_id == kid:
                return key
        raise TokenRefused("no key of its issuer has its kid")


class PublishedKeys:
    """Keys that an issuer publishes at a url, asked for again when they are old.

    Args:
        url: Of the JWKS: https, or http on this machine.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "https" and parts.hostname not in _LOOPBACK:
            raise BadUsage(f"jwks {url!r}: keys that come over plain http prove nothing; use https or a file")
        self._client = jwt.PyJWKClient(url, lifespan=_KEYS_LIFE_SECONDS, timeout=_FETCH_SECONDS)

    def get(self) -> jwt.PyJWKSet:
        """The keys as they are now.

        Raises:
            TokenRefused: The issuer does not answer.
        """
        try:
            return self._client.get_jwk_set()
        except jwt.PyJWTError:
            raise TokenRefused("its issuer's keys cannot be had") from None


def read_token(token: str, issuers: Sequence[Issuer]) -> Caller:
    """Who a token proves its bearer to be.

    Raises:
        TokenRefused: Nobody.
    """
    if len(token) > _LONGEST_TOKEN_CHARACTERS:
        raise TokenRefused("it is too long")
    try:
        header = jwt.get_unverified_header(token)
        claimed = jwt.decode(token, options={"verify_signature": False}).get("iss")
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        raise TokenRefused("it is no JSON Web Token") from None
    for issuer in issuers:
        if issuer.name == claimed:
            return issuer.read(token, header)
    raise TokenRefused("its issuer is unknown here")


def token_key_path(settings: Settings) -> Path:
    """This machine's token key: not the one that signs records."""
    return settings.signing_key.with_name("tokens.pem")


def make_token_key(settings: Settings) -> SigningKey:
    """This machine's token key, readable by its owner alone; made when there is none."""
    return open_signing_key(token_key_path(settings))


def mint(settings: Settings, name: str, grants: Sequence[Grant], *, valid_for: timedelta) -> str:
    """A token signed by this machine; its key is made (0600) when there is none.

    Args:
        settings: Of this machine.
        name: Whose.
        grants: What they may do where.
        valid_for: From now.
    """
    key = make_token_key(settings)
    now = datetime.now(UTC)
    claims = {
        "iss": LOCAL_ISSUER,
        "aud": LOCAL_AUDIENCE,
        "sub": name,
        "iat": now,
        "exp": now + valid_for,
        ROLES_CLAIM: [str(grant) for grant in grants],
    }
    return jwt.encode(claims, _private(key), algorithm="EdDSA", headers={"kid": key.public.key_id})


def token_for(settings: Settings, url: str) -> str | None:
    """What the command line proves itself with: `$WHODID_TOKEN`, else, on this machine alone, its own key."""
    if settings.token:
        return settings.token
    if urlsplit(url).hostname not in _LOOPBACK or not token_key_path(settings).exists():
        return None
    return mint(settings, getpass.getuser(), [Grant(Role.ANALYST)], valid_for=_COMMAND_LIFE)


def local_issuer(settings: Settings) -> Issuer:
    """This machine as an issuer; only the public half of its key is read.

    Raises:
        MissingModel: It has no key yet.
    """
    path = public_path(token_key_path(settings))
    try:
        public = read_public_key(path)
    except MissingModel:
        raise MissingModel(f"no token key at {path}: make one with `whodid token --role analyst`") from None
    described: dict[str, Any] = {**OKPAlgorithm.to_jwk(_public(public.to_pem()), as_dict=True)}
    keys = jwt.PyJWKSet([{**described, "kid": public.key_id, "alg": "EdDSA", "use": "sig"}])
    return Issuer(LOCAL_ISSUER, LOCAL_AUDIENCE, keys)


def _private(key: SigningKey) -> Any:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(key.seed)


def _public(pem: bytes) -> Any:
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    return load_pem_public_key(pem)
