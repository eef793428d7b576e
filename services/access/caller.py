"""Caller: on whose behalf this code runs, and why. Set once at a process's edge, read where something is recorded."""

import getpass
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field

from services.access.roles import EVERY_GROUP, Grant, Permission
from services.contracts.errors import WhodidError

NOT_STATED = "not stated"


class Denied(WhodidError):
    """Nobody known asks, or one who may not. Names neither what is there nor who may."""

    exit_code = 2
    http_status = 403


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who asks.

    Attributes:
        name: The token's subject, with its issuer where that is not this machine; an operating-system user.
        why: The purpose they stated.
        grants: What they may do where; None for who needs none: the machine's own user, or anybody where
            no authentication is configured.
        camera_groups: Which cameras stand in which group.
    """

    name: str
    why: str = NOT_STATED
    grants: tuple[Grant, ...] | None = None
    camera_groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def require(self, permission: Permission) -> None:
        """Check that a grant allows this, for some cameras at least.

        Raises:
            Denied: None does.
        """
        if self.grants is not None and not any(grant.allows(permission) for grant in self.grants):
            raise Denied(f"{self.name} may not {permission.value}: ask an administrator for a role that may")

    def require_camera(self, permission: Permission, camera_id: str | None) -> None:
        """Check that a grant allows this for a camera.

        A camera that stands in no group, and a clip of no camera, are open to grants for every group alone.

        Raises:
            Denied: None does.
        """
        if self.grants is None:
            return
        groups = [group for group, cameras in self.camera_groups.items() if camera_id in cameras] or [EVERY_GROUP]
        if not any(grant.allows(permission, group=group) for grant in self.grants for group in groups):
            camera = "clips of no camera" if camera_id is None else f"camera {camera_id!r}"
            raise Denied(f"{self.name} may not {permission.value} of {camera}: ask for a role in its camera group")

    def cameras(self, permission: Permission) -> tuple[str, ...] | None:
        """Those for which a grant allows this; None where it does for all, and for clips of no camera."""
        if self.grants is None or any(grant.allows(permission, group=EVERY_GROUP) for grant in self.grants):
            return None
        allowed = {
            camera
            for group, cameras in self.camera_groups.items()
            if any(grant.allows(permission, group=group) for grant in self.grants)
            for camera in cameras
        }
        return tuple(sorted(allowed))


CALLER: ContextVar[Caller | None] = ContextVar("caller", default=None)
"""Who asked for what is being answered; a served request sets it."""


def current_caller() -> Caller:
    """Who asks: the served request's caller, else the user who runs this process."""
    return CALLER.get() or local_user()


def local_user(why: str | None = None) -> Caller:
    """The operating system's user, who could read the files anyway and so needs no role."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = "unnamed user"
    return Caller(f"local user {name}", why or NOT_STATED)
