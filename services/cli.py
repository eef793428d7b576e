"""The `whodid` command. Thin: each verb reads its options, calls one room and says what came of it."""

import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer

from services.contracts.errors import WhodidError
from services.verbs.access import audit, token, watchlist_app
from services.verbs.archive import archive_app, events, show
from services.verbs.forgetting import forget
from services.verbs.gallery import BasisOption, ExpiresOption, gallery_app, read_consent
from services.verbs.group import VerbGroup
from services.verbs.options import GalleryOption, JsonOption, PurposeOption, print_json

app = typer.Typer(
    cls=VerbGroup,
    help="Says who did what, from when to when, in surveillance clips, and which models said so.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    epilog=(
        "Exit codes: 0 done, 1 a fault of ours, 2 bad usage, 3 bad input, 4 missing or unverified model or data, "
        "5 refused by a gate."
    ),
)
models_app = typer.Typer(help="Which networks are here.", no_args_is_help=True)
app.add_typer(gallery_app, name="gallery")
app.add_typer(models_app, name="models")
app.command()(forget)
app.add_typer(archive_app, name="archive")
app.command()(events)
app.command()(show)
app.add_typer(watchlist_app, name="watchlist")
app.command()(audit)
app.command()(token)


@app.command()
def analyze(
    clips: Annotated[list[Path], typer.Argument(metavar="CLIP...", help="Any video FFmpeg reads.")],
    gallery: GalleryOption = None,
    out: Annotated[Path, typer.Option(help="Reports go to OUT/<clip stem>/.")] = Path("whodid-out"),
    as_json: JsonOption = False,
    from_seconds: Annotated[float, typer.Option("--from", min=0, help="Start here, in seconds.")] = 0.0,
    to_seconds: Annotated[float | None, typer.Option("--to", help="Stop here, in seconds.")] = None,
    server: Annotated[str | None, typer.Option(help="Send the clips to a graph served at this url.")] = None,
    jobs: Annotated[int, typer.Option(min=1, max=16, help="Clips analysed side by side.")] = 2,
    camera: Annotated[str | None, typer.Option(metavar="C", help="Which camera recorded them.")] = None,
    started_at: Annotated[
        str | None, typer.Option(metavar="ISO", help="When second 0 was recorded; local time without an offset.")
    ] = None,
    show_strangers: Annotated[
        bool, typer.Option("--show-strangers", help="Do not hide who is not named: for those who may see the clip.")
    ] = False,
    purpose: PurposeOption = None,
) -> None:
    """Say who did what in each CLIP, and write a report folder for it."""
    from services.analysis import analyze_clips
    from services.history import parse_moment

    worst = analyze_clips(
        clips,
        gallery=gallery,
        out=out,
        as_json=as_json,
        span_seconds=(from_seconds, to_seconds),
        server=server,
        jobs=jobs,
        camera_id=camera,
        started_at=parse_moment(started_at) if started_at else None,
        show_strangers=show_strangers,
        purpose=purpose,
    )
    raise typer.Exit(worst)


@app.command()
def enroll(
    subject: Annotated[str | None, typer.Argument(metavar="SUBJECT", help="The name to answer with.")] = None,
    files: Annotated[list[Path] | None, typer.Argument(metavar="IMAGE_OR_CLIP...")] = None,
    gallery: GalleryOption = None,
    folder: Annotated[Path | None, typer.Option(help="Enrol a folder: one sub-folder a subject.")] = None,
    face: Annotated[int | None, typer.Option(min=1, help="Which of several faces, from the left.")] = None,
    duplicate: Annotated[bool, typer.Option("--duplicate", help="Though the face is enrolled under another name.")] = (
        False
    ),
    basis: BasisOption = None,
    expires: ExpiresOption = None,
    as_json: JsonOption = False,
) -> None:
    """Enrol SUBJECT from pictures or clips of their face."""
    from services.enrolment import enrol_files, enrol_folder

    if folder is not None and subject is None and basis is None:
        enrol_folder(folder, gallery=gallery, duplicate=duplicate, as_json=as_json)
    elif folder is None and subject is not None and files:
        consent = read_consent(basis, expires)
        enrol_files(subject, files, gallery=gallery, face=face, duplicate=duplicate, consent=consent, as_json=as_json)
    else:
        raise typer.BadParameter("give SUBJECT and at least one file, or --folder alone")


@models_app.command("fetch")
def models_fetch(
    mirror: Annotated[Path | None, typer.Option(help="Take the releases from this folder.")] = None,
) -> None:
    """Fetch the pretrained networks: download, verify, convert, store."""
    from services.console import ProgressBars
    from services.models.pretrained import fetch
    from services.models.store import ModelStore
    from services.settings import read_settings

    with ProgressBars(unit="MB") as bars:
        fetched = fetch(
            ModelStore(read_settings().models),
            mirror=mirror,
            on_progress=lambda name, done, total: bars.advance_to(name, done / 1e6, total / 1e6),
        )
    for model in fetched:
        typer.echo(f"{model.card.name}@{model.card.version} {model.card.weights.sha256[:12]} verified")


@models_app.command("install")
def models_install(
    folders: Annotated[list[Path], typer.Argument(metavar="FOLDER...")],
    champion: Annotated[
        bool, typer.Option("--champion", help="Of their tasks, even where another model is; no gate is asked.")
    ] = False,
) -> None:
    """Install model versions: a card.json with its weights beside it.

    A new version follows an older one of its name as champion of their task. Another model does not: `whodid promote`
    compares the two.
    """
    from services.models.store import ModelStore
    from services.settings import read_settings

    store = ModelStore(read_settings().models)
    names = {model.card.weights.sha256: model.card.name for model in store.installed()}
    for folder in folders:
        card, weights = store.find(str(folder / "card.json"))
        store.install(card, weights)
        reigning = names.get(store.champions().get(card.task, ""), card.name)
        if champion or reigning == card.name:
            store.set_champion(card.task, card.weights.sha256)
            reigning = card.name
        names[card.weights.sha256] = card.name
        rank = "is champion" if reigning == card.name else f"is installed; {reigning} stays champion"
        typer.echo(f"{card.name}@{card.version} {card.weights.sha256[:12]} {rank} of {card.task}")


@app.command()
def serve(
    port: Annotated[int, typer.Option(help="Where the graph listens on loopback; 0 takes a free one.")] = 8080,
    gallery: GalleryOption = None,
    graph: Annotated[Path | None, typer.Option(help="Another InferenceGraph file.")] = None,
    clips: Annotated[
        list[str] | None,
        typer.Option(metavar="FOLDER|URL", help="Where clips may be read from; repeat. The working folder by default."),
    ] = None,
    anybody: Annotated[bool, typer.Option("--anybody", help="Answer requests without a token, too.")] = False,
) -> None:
    """Run the four services and the graph over HTTP on loopback, until Ctrl-C."""
    from services.access.rules import LOCAL
    from services.access.tokens import make_token_key
    from services.settings import read_settings
    from services.supervisor import Supervisor

    settings = read_settings()
    make_token_key(settings)
    environment = {"WHODID_ACCESS": "" if anybody else settings.access or LOCAL}
    if gallery:
        environment["WHODID_GALLERY"] = gallery
    if clips:
        environment["WHODID_CLIPS"] = ",".join(clips)
    with Supervisor(str(graph or settings.graph), port=port, environment=environment) as supervisor:
        typer.echo(
            f"serving on {supervisor.url}: `whodid analyze CLIP --purpose WHY --server {supervisor.url}`, or POST a "
            "TracksRequest" + ("" if anybody else " with a token (`whodid token --role analyst`)")
        )
        supervisor.wait()


@app.command()
def doctor(as_json: JsonOption = False) -> None:
    """Check this installation: packages, engine, models and their digests, disk."""
    from services.console import print_checks
    from services.diagnosis import examine

    checks = examine()
    if as_json:
        print_json([{"check": c.name, "ok": c.ok, "found": c.found, "remedy": c.remedy} for c in checks])
    else:
        print_checks(checks)
    if not all(check.ok for check in checks):
        raise typer.Exit(4)


def main() -> None:
    """Run the command; every expected fault becomes one line on stderr and its exit code."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        app(standalone_mode=True)
    except WhodidError as error:
        sys.stderr.write(f"whodid: {error}\n")
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    # Unwinds like Ctrl-C, so that temporary files go and children stop.
    raise SystemExit(128 + signal.SIGTERM)


if __name__ == "__main__":
    main()
