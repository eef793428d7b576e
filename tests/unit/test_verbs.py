import sys
from importlib.metadata import EntryPoint

import pytest
import typer
from typer.testing import CliRunner

from services.contracts.errors import BadUsage
from services.verbs import group
from services.verbs.group import VerbGroup

GREETING = typer.Typer()


@GREETING.command()
def greet(name: str) -> None:
    """Greets."""
    if name == "nobody":
        import a_library_nobody_has  # noqa: F401 - what is tested is its absence
    typer.echo(f"good day, {name}")


@pytest.fixture
def app(monkeypatch) -> typer.Typer:
    """A command with a verb of its own, one of a package that is here and one of a package that is not."""
    entries = {
        "greet": EntryPoint("greet", f"{__name__}:GREETING", group.GROUP),
        "teach": EntryPoint("teach", "no_such_package.verbs:app", group.GROUP),
    }
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or sys.modules["__main__"])
    monkeypatch.setattr(group, "find_verbs", lambda: entries)
    application = typer.Typer(cls=VerbGroup)

    @application.command()
    def own() -> None:
        """The runtime's."""
        typer.echo("own")

    @application.callback()
    def everything() -> None:
        pass

    return application


def test_a_plugged_verb_runs_beside_the_own_ones(app):
    assert CliRunner().invoke(app, ["greet", "ada"]).output == "good day, ada\n"
    assert CliRunner().invoke(app, ["own"]).output == "own\n"


def test_help_lists_them_all_even_what_is_missing(app):
    shown = CliRunner().invoke(app, ["--help"]).output
    assert all(verb in shown for verb in ("own", "greet", "teach"))


@pytest.mark.parametrize("arguments", [["teach"], ["teach", "NAME", "3", "--to", "staging"], ["teach", "--help"]])
def test_a_verb_whose_package_is_absent_says_so(app, arguments):
    fault = CliRunner().invoke(app, arguments).exception
    assert isinstance(fault, BadUsage)
    assert "whodid teach" in str(fault)
    assert "whodid[training]" in str(fault)


def test_a_verb_whose_library_is_absent_names_it(app):
    fault = CliRunner().invoke(app, ["greet", "nobody"]).exception
    assert isinstance(fault, BadUsage)
    assert "a_library_nobody_has" in str(fault)


def test_an_unknown_verb_is_bad_usage(app):
    assert CliRunner().invoke(app, ["sing"]).exit_code == 2
