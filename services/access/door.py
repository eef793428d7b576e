"""Door: lets a request in, or says why not. The same one stands before the graph and before every service."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Self

from services.access.caller import Caller, Denied
from services.access.rates import RateLimit
from services.access.roles import Permission
from services.access.rules import AccessRules
from services.access.tokens import TokenRefused, read_token
from services.settings import Settings

PURPOSE_HEADER = "X-Whodid-Purpose"
PROPAGATED = re.compile(r"(?i)^(authorization|x-whodid-purpose)$")
"""What a graph hands on, so that each service asks for itself."""

_PURPOSE_CHARACTERS = (4, 500)
_FAILURES_PER_MINUTE, _FAILURE_BURST = 30, 10

# A KServe server's paths that anybody may ask: whether it is up, and nothing else.
_PROBES = re.compile(r"/|/v2/health/(live|ready)|/v1/models/[^/:]+|/v2/models/[^/]+/ready")
_SEARCHES = re.compile(r"/v1/models/[^/]+:(predict|explain)|/v2/models/[^/]+(/versions/[^/]+)?/(infer|generate.*)")

Headers = Iterable[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Refusal(Exception):
    """What is answered to a request that is not let in.

    Attributes:
        status: 400, 401, 403 or 429.
        error: For whoever asked.
        headers: To send with it.
    """

    status: int
    error: str
    headers: tuple[tuple[str, str], ...] = ()


def permission_for(method: str, path: str) -> Permission | None:
    """What a request to a KServe server needs; None for what anybody may ask. What is not listed, operators may."""
    if method in ("GET", "HEAD"):
        if _PROBES.fullmatch(path):
            return None
        if path == "/metrics":
            return Permission.OBSERVE
        if path == "/v1/events":
            return Permission.VIEW
    if method == "POST" and _SEARCHES.fullmatch(path):
        return Permission.SEARCH
    return Permission.OPERATE


class Door:
    """Checks tokens, roles, purposes and rates.

    Args:
        rules: Whose tokens count, and how often one may ask.
    """

    def __init__(self, rules: AccessRules) -> None:
        self._rules = rules
        self._requests = RateLimit(rules.limits.requests_per_minute, rules.limits.burst)
        self._failures = RateLimit(_FAILURES_PER_MINUTE, _FAILURE_BURST)

    @classmethod
    def open(cls, settings: Settings) -> Self | None:
        """The door that settings ask for; None where callers are not asked who they are."""
        rules = AccessRules.read(settings)
        return None if rules is None else cls(rules)

    def admit(self, permission: Permission, headers: Headers, *, peer: str) -> Caller:
        """Let a request in, before its body is read.

        Args:
            permission: What it needs, in some camera group at least.
            headers: As they came.
            peer: Address it came from; those who fail too often from one wait.

        Raises:
            Refusal: It stays outside.
        """
        told: dict[str, list[str]] = {}
        for name, value in headers:
            told.setdefault(name.lower(), []).append(value)
        try:
            caller = self._recognise(told.get("authorization", []))
        except TokenRefused as refused:
            self._slow_down(self._failures, peer)
            challenge = 'Bearer realm="whodid"' + (', error="invalid_token"' if "authorization" in told else "")
            raise Refusal(
                401, f"a valid bearer token is needed: {refused}", (("WWW-Authenticate", challenge),)
            ) from None
        caller = replace(caller, camera_groups=self._rules.camera_groups)
        self._slow_down(self._requests, caller.name)
        try:
            caller.require(permission)
        except Denied as denied:
            raise Refusal(403, str(denied)) from None
        if permission in (Permission.SEARCH, Permission.VIEW):
            caller = replace(caller, why=_purpose(told.get(PURPOSE_HEADER.lower(), [])))
        return caller

    def _recognise(self, sent: list[str]) -> Caller:
        if len(sent) != 1:
            raise TokenRefused("send one Authorization header")
        scheme, _, token = sent[0].partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise TokenRefused("send `Authorization: Bearer TOKEN`")
        return read_token(token.strip(), self._rules.issuers)

    def _slow_down(self, limit: RateLimit, name: str) -> None:
        if wait_seconds := limit.take(name):
            retry = str(math.ceil(wait_seconds))
            raise Refusal(429, f"too many requests: try again in {retry} s", (("Retry-After", retry),))


def _purpose(stated: list[str]) -> str:
    shortest, longest = _PURPOSE_CHARACTERS
    purpose = " ".join(stated).strip()
    if not shortest <= len(purpose) <= longest or not purpose.isprintable():
        raise Refusal(
            400,
            f"a search for people needs a purpose: send {PURPOSE_HEADER} with {shortest} to {longest} characters "
            "(`whodid analyze --purpose`); it is kept in the audit log",
        )
    return purpose
