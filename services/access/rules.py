"""AccessRules: how a served API knows its callers, which cameras stand in which group, how often one may ask.

`$WHODID_ACCESS` is empty (nobody is asked who they are: loopback, or a mesh that authenticates), `local` (tokens of
this machine's key), or a TOML file:

    [[issuers]]
    issuer = "https://id.example.org/realms/city"   # the tokens' iss
    audience = "whodid"                             # their aud
    jwks = "https://id.example.org/realms/city/protocol/openid-connect/certs"   # or a file beside this one
    roles_claim = "whodid_roles"                    # lists "analyst@north", "auditor@*"

    [camera_groups]
    north = ["gate-1", "gate-2"]

    [limits]
    requests_per_minute = 60
    burst = 30
"""

import tomllib
from pathlib import Path
from typing import Self

import jwt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.access.tokens import LOCAL_ISSUER, ROLES_CLAIM, Issuer, PublishedKeys, local_issuer
from services.contracts.errors import BadUsage
from services.settings import Settings

LOCAL = "local"


class _Written(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Limits(_Written):
    """How often one caller may ask."""

    requests_per_minute: float = Field(60, gt=0)
    burst: int = Field(30, ge=1)


class _IssuerWritten(_Written):
    issuer: str = Field(min_length=1)
    audience: str = Field(min_length=1)
    jwks: str = Field(min_length=1)
    roles_claim: str = ROLES_CLAIM


class _RulesWritten(_Written):
    issuers: tuple[_IssuerWritten, ...] = ()
    local: bool = Field(False, description="Tokens of this machine's key count, too.")
    camera_groups: dict[str, tuple[str, ...]] = {}
    limits: Limits = Limits()


class AccessRules(BaseModel):
    """What a door goes by."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    issuers: tuple[Issuer, ...]
    camera_groups: dict[str, tuple[str, ...]] = {}
    limits: Limits = Limits()

    @classmethod
    def read(cls, settings: Settings) -> Self | None:
        """The rules that settings name; None where callers are not asked who they are.

        Raises:
            BadUsage: The file is absent or not as described above.
        """
        if not settings.access:
            return None
        if settings.access == LOCAL:
            return cls(issuers=(local_issuer(settings),))
        path = Path(settings.access)
        try:
            written = _RulesWritten.model_validate(tomllib.loads(path.read_text()))
        except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise BadUsage(f"WHODID_ACCESS: {path} cannot be read ({error}): `local`, or a TOML file") from error
        except ValidationError as error:
            fault = error.errors()[0]
            raise BadUsage(f"{path}: {'.'.join(map(str, fault['loc']))}: {fault['msg']}") from error
        issuers = [_issuer(each, path) for each in written.issuers]
        if written.local:
            issuers.append(local_issuer(settings))
        if not issuers:
            raise BadUsage(f"{path} names no issuer: nobody could ever get in; add [[issuers]] or local = true")
        return cls(issuers=tuple(issuers), camera_groups=written.camera_groups, limits=written.limits)


def _issuer(written: _IssuerWritten, path: Path) -> Issuer:
    if written.issuer == LOCAL_ISSUER:
        raise BadUsage(f"{path}: {LOCAL_ISSUER!r} is this machine itself: write local = true")
    if "://" in written.jwks:
        return Issuer(written.issuer, written.audience, PublishedKeys(written.jwks), written.roles_claim)
    try:
        keys = jwt.PyJWKSet.from_json((path.parent / written.jwks).read_text())
    except (OSError, ValueError, jwt.PyJWTError) as error:
        raise BadUsage(f"{path}: jwks {written.jwks!r} holds no keys ({error})") from error
    return Issuer(written.issuer, written.audience, keys, written.roles_claim)
