"""Roles: who may do what, for which cameras. A permission that no grant gives is denied."""

from dataclasses import dataclass
from enum import Enum
from typing import Self

EVERY_GROUP = "*"


class Permission(Enum):
    """What can be asked for; the value completes "may not ..."."""

    SEARCH = "search clips for people"
    VIEW = "read events"
    OBSERVE = "read metrics"
    OPERATE = "operate the service"
    PROPOSE = "propose a name for the watchlist"
    CONFIRM = "confirm a name for the watchlist"


class Role(Enum):
    """Duties are apart: who operates does not search, who audits does neither."""

    VIEWER = "viewer"
    ANALYST = "analyst"
    ENROLLER = "enroller"
    ADMIN = "admin"
    AUDITOR = "auditor"


PERMISSIONS: dict[Role, frozenset[Permission]] = {
    Role.VIEWER: frozenset({Permission.VIEW}),
    Role.ANALYST: frozenset({Permission.SEARCH, Permission.VIEW, Permission.PROPOSE}),
    Role.ENROLLER: frozenset({Permission.PROPOSE, Permission.CONFIRM}),
    Role.ADMIN: frozenset({Permission.OBSERVE, Permission.OPERATE, Permission.CONFIRM}),
    Role.AUDITOR: frozenset({Permission.OBSERVE}),
}


@dataclass(frozen=True, slots=True)
class Grant:
    """A role for the cameras of one group, or of all.

    Attributes:
        role: Which.
        group: A camera group's name, or `*`.
    """

    role: Role
    group: str = EVERY_GROUP

    @classmethod
    def parse(cls, written: str) -> Self | None:
        """Read `analyst@north` or `analyst@*`; None for what is no grant of ours: identity providers list others."""
        role, separator, group = written.partition("@")
        if not separator or not group or role not in {each.value for each in Role}:
            return None
        return cls(Role(role), group)

    def allows(self, permission: Permission, *, group: str | None = None) -> bool:
        """Whether it gives a permission; for the cameras of a group, when one is named."""
        return permission in PERMISSIONS[self.role] and (group is None or self.group in (EVERY_GROUP, group))

    def __str__(self) -> str:
        return f"{self.role.value}@{self.group}"
