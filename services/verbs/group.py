"""Verbs that other packages add to `whodid`: entry points of the group `whodid.verbs`, each a Typer application.

The runtime never imports `training`; it asks the installation which verbs there are, and loads one when it is called.
"""

from collections.abc import Mapping
from importlib import metadata
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from services.contracts.errors import BadUsage

GROUP = "whodid.verbs"
_REMEDY = "install it in a checkout with `make install`, or `pip install 'whodid[training]'`"


class VerbGroup(TyperGroup):
    """The runtime's own verbs first, then those of the entry points, by name."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Every verb of this installation."""
        return [*super().list_commands(ctx), *sorted(find_verbs())]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A verb by name; one whose package is not installed explains itself when it is called."""
        own = super().get_command(ctx, cmd_name)
        verbs = {} if own else find_verbs()
        return load_verb(verbs[cmd_name]) if cmd_name in verbs else own

    def invoke(self, ctx: Any) -> Any:
        """Run the verb asked for.

        Raises:
            BadUsage: It is another package's, and a library of that package is not installed.
        """
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as fault:
            if ctx.invoked_subcommand not in find_verbs():
                raise
            raise BadUsage(
                f"`whodid {ctx.invoked_subcommand}` needs {fault.name}, not installed here; {_REMEDY}"
            ) from fault


def find_verbs() -> Mapping[str, metadata.EntryPoint]:
    """Entry points by verb."""
    return {entry.name: entry for entry in metadata.entry_points(group=GROUP)}


def load_verb(entry: metadata.EntryPoint) -> TyperCommand | TyperGroup:
    """The command behind an entry point, or one that says what is missing."""
    try:
        application = entry.load()
    except ModuleNotFoundError as fault:
        application = _explain_absence(entry.name, fault.name or entry.module)
    command: TyperCommand | TyperGroup = get_command(application)  # type: ignore[assignment]  # typed as its private base
    command.name = entry.name
    return command


def _explain_absence(verb: str, module: str) -> typer.Typer:
    application = typer.Typer(add_completion=False)

    @application.command(
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
    )
    def absent(_: typer.Context) -> None:
        """Not in this installation: it serves, and does not make or promote models."""
        raise BadUsage(f"`whodid {verb}` is not part of this installation (no {module}); {_REMEDY}")

    return application
