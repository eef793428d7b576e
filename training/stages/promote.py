"""Promote: a registered version through its gates into a stage; all of it happens, or nothing does.

A pipeline of its own (infra/dvc.yaml): to put a model before people is somebody's decision, signed with their name.
"""

import getpass
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from shutil import copyfile

import fsspec

from services.contracts.card import ModelCard, Task
from services.contracts.errors import BadInput, BadUsage, MissingModel, Refused
from services.models.store import CARD_FILE, ModelStore, StoredModel
from services.settings import Settings
from services.signing import open_signing_key
from training import runs
from training.config import Config, StageParams
from training.lineage.attestation import ATTESTATION_FILE, make_statement, seal
from training.promotion.canary import CANARY_FILES, read_canary, remove_canary
from training.promotion.deployments import Change, Deployment, PromotionLog, Standing
from training.promotion.gates import Gate, Proposal, judge
from training.promotion.pins import PINS_FILE, SERVICE_OF_TASK, check_unchanged, commit, read_pin, write_pin
from training.promotion.protocols import choose_protocol

LOCAL = "local"


@dataclass(frozen=True, slots=True)
class Request:
    """What an operator asks for.

    Attributes:
        name: Registered model.
        version: Its number, or an alias.
        stage: Where to.
        why: In their words.
        override: Why failed gates may be passed over.
        publish: Copy the model under this fsspec url instead of the stage's own.
        pairs: For face networks, the list of pairs.
        root: And the folder its paths are relative to.
        scenes: For action networks, held-out scenes in place of the configured ones.
        reembedding_plan: For a face network of another embedding space.
    """

    name: str
    version: str
    stage: str
    why: str = ""
    override: str | None = None
    publish: str | None = None
    pairs: Path | None = None
    root: Path | None = None
    scenes: Path | None = None
    reembedding_plan: Path | None = None


def promote(request: Request, config: Config, settings: Settings, *, on_gate: Callable[[Gate], None]) -> Change:
    """Run every gate; when all pass, or are overridden, move alias, store, pins and log together.

    Args:
        request: What is asked.
        config: The gates' limits and the stages.
        settings: Where log, key, store and gallery are.
        on_gate: Told each gate's answer as it comes.

    Returns:
        The change as logged.

    Raises:
        Refused: A gate failed and nothing overrides it; nothing was changed.
        MissingModel: The registry lacks the version.
        BrokenLedger: The promotion log is not what was written.
    """
    stage = find_stage(request.stage, config)
    if request.override is not None and not request.override.strip():
        raise BadUsage("--override needs a reason: it is logged with your name")
    if stage.overlays:
        check_unchanged(pin_files(stage))
    log = PromotionLog(settings)
    live = log.live()
    registered = runs.find_version(request.name, request.version)
    with tempfile.TemporaryDirectory(prefix="whodid-promote-") as folder:
        candidate = read_candidate(runs.fetch_version(registered, Path(folder)))
        card = candidate.card
        standing = live.get((request.stage, card.task))
        adopted = None if standing else find_serving(request.stage, stage, card.task, settings)
        now = standing.deployment if standing else adopted
        uri = published_uri(request.publish or stage.publish, card) or registered.source
        proposal = Proposal(
            candidate=candidate,
            registry_tags=registered.tags,
            uri=uri,
            champion=open_champion(now, settings, Path(folder) / "champion") if now else None,
            protocol=lambda: choose_protocol(
                card.task,
                scenes=request.scenes or Path(config.promote.heldout),
                prepare=config.prepare,
                pairs=request.pairs,
                root=request.root,
                settings=settings,
            ),
            stage=stage,
            gallery=settings.gallery,
            reembedding_plan=request.reembedding_plan,
            device=settings.device,
        )
        gates, failed = judge(proposal, config.promote, on_gate=on_gate)
        if failed and request.override is None:
            raise Refused(
                f"{request.name}@{registered.version} does not go to {request.stage}: {', '.join(failed)} failed; "
                "nothing was changed"
            )
        if "digest" in failed:
            raise Refused(f"the bytes of {request.name}@{registered.version} are not the registered ones: no override")
        change = Change(
            kind="promote",
            deployment=describe(card, registered, request.stage, uri),
            who=find_operator(),
            why=request.why or "all gates passed",
            override=request.override if failed else None,
            gates=[asdict(gate) for gate in gates],
        )
        attest(candidate, registered.run_id, settings)
        if uri != registered.source:
            publish_model(candidate, uri)
        if adopted:
            log.record(Change("adopt", adopted, change.who, "served when the log began"))
        return apply_change(change, stage, settings, log, replaced=now, model=candidate)


def roll_back(name: str, stage_name: str | None, why: str, config: Config, settings: Settings) -> Change:
    """Restore what served before, in one step: alias, store, pins and log.

    Args:
        name: The model that serves now.
        stage_name: Where; may be left out where it serves in one stage only.
        why: In the operator's words.
        config: Says what the stages are.
        settings: Where log, key and store are.

    Raises:
        BadInput: It serves nowhere, or in several stages, or nothing served before it.
    """
    log = PromotionLog(settings)
    standing = find_standing(log, name, stage_name)
    if not standing.before:
        raise BadInput(f"nothing served in {standing.deployment.stage} before {name}: promote another version instead")
    before = standing.before[-1]
    stage = find_stage(before.stage, config)
    if stage.overlays:
        check_unchanged(pin_files(stage))
    change = Change("rollback", before, find_operator(), why or "rolled back")
    return apply_change(change, stage, settings, log, replaced=standing.deployment)


def apply_change(
    change: Change,
    stage: StageParams,
    settings: Settings,
    log: PromotionLog,
    *,
    replaced: Deployment | None,
    model: StoredModel | None = None,
) -> Change:
    """Store, alias, pins and log, in this order; a fault undoes what was done before it.

    Args:
        change: What to do.
        stage: Where.
        settings: Where the store is.
        log: Where to write it down.
        replaced: What serves until now.
        model: To install, when it may not be in the store yet.
    """
    deployment = change.deployment
    with ExitStack() as undo:
        if deployment.stage == LOCAL:
            undo.enter_context(_serving_here(ModelStore(settings.models), deployment, model))
        undo.enter_context(_aliases_moved(deployment, replaced))
        if stage.overlays:
            change = replace(change, pins_commit=undo.enter_context(_pinned(change, stage, log)))
        log.record(change)
    return change


def find_stage(name: str, config: Config) -> StageParams:
    """A stage's parameters.

    Raises:
        BadUsage: There is no such stage.
    """
    if name not in config.promote.stages:
        raise BadUsage(f"no stage {name!r}; params.yaml has {', '.join(config.promote.stages)}")
    return config.promote.stages[name]


def find_standing(log: PromotionLog, name: str, stage: str | None) -> Standing:
    """Where a model serves now.

    Raises:
        BadInput: Nowhere, or in several stages and none was named.
    """
    found = [
        standing
        for (place, task), standing in log.live().items()
        if name in (standing.deployment.name, task) and stage in (None, place)
    ]
    if not found:
        raise BadInput(f"{name} does not serve{f' in {stage}' if stage else ''}: see `whodid live`")
    if len(found) > 1:
        stages = ", ".join(standing.deployment.stage for standing in found)
        raise BadInput(f"{name} serves in {stages}: say which with --from STAGE")
    return found[0]


def find_serving(stage_name: str, stage: StageParams, task: Task, settings: Settings) -> Deployment | None:
    """What serves though the log does not know of it: the store's champion, or the overlay's pin."""
    if stage.overlays:
        return read_pin(Path(stage.overlays[0]), task, stage_name)
    try:
        card, weights = ModelStore(settings.models).champion(task)
    except MissingModel:
        return None
    return describe(card, None, stage_name, weights.parent.absolute().as_uri())


def open_champion(deployment: Deployment, settings: Settings, folder: Path) -> StoredModel | None:
    """What serves now, from this machine's store or from where it is pinned.

    Raises:
        MissingModel: It is in neither place.
    """
    store = ModelStore(settings.models)
    try:
        return store.find(deployment.sha256)
    except MissingModel:
        folder.mkdir()
        try:
            filesystem, path = fsspec.core.url_to_fs(deployment.uri)
            filesystem.get(path.rstrip("/") + "/", f"{folder}/", recursive=True)
        except Exception as fault:  # every kind of store has its own
            raise MissingModel(
                f"the champion {deployment.name} ({deployment.sha256[:12]}) is neither in {store.root} nor readable at "
                f"{deployment.uri}: {fault}; install it with `whodid models install FOLDER`"
            ) from fault
    return read_candidate(folder)


def read_candidate(folder: Path) -> StoredModel:
    """Card and weights of a fetched version.

    Raises:
        MissingModel: There is no card in it.
    """
    cards = sorted(folder.rglob(CARD_FILE))
    if len(cards) != 1:
        raise MissingModel(f"{folder} holds {len(cards)} model cards; a registered version has one card.json")
    return ModelStore(folder).find(str(cards[0]))


def describe(card: ModelCard, registered: runs.ModelVersion | None, stage: str, uri: str) -> Deployment:
    """The deployment a card stands for."""
    return Deployment(
        stage=stage,
        task=card.task,
        name=registered.name if registered else card.name,
        version=registered.version if registered else "",
        card_version=card.version,
        uri=uri,
        sha256=card.weights.sha256,
        run_id=card.lineage.run_id or "",
        git_commit=card.lineage.git_commit or "",
        data_md5=card.lineage.data_md5 or "",
    )


def attest(model: StoredModel, run_id: str, settings: Settings) -> None:
    """Sign where a fetched model came from, and leave the statement beside its card."""
    statement = make_statement(model.card, runs.read_run(run_id))
    model.weights_path.with_name(ATTESTATION_FILE).write_bytes(seal(statement, open_signing_key(settings.signing_key)))


def published_uri(root: str | None, card: ModelCard) -> str | None:
    """Where a model is published: named by its digest, so the uri always means the same bytes."""
    return f"{root.rstrip('/')}/{card.name}/{card.weights.sha256}/" if root else None


def publish_model(model: StoredModel, uri: str) -> None:
    """Copy card and weights to where services load them from.

    Raises:
        BadUsage: The place cannot be written to.
    """
    try:
        filesystem, path = fsspec.core.url_to_fs(uri)
        filesystem.makedirs(path, exist_ok=True)
        for name in (model.weights_path.name, CARD_FILE, ATTESTATION_FILE):
            file = model.weights_path.with_name(name)
            filesystem.put_file(str(file), f"{path.rstrip('/')}/{file.name}")
    except Exception as fault:  # every kind of store has its own
        raise BadUsage(f"cannot publish to {uri}: {fault}; nothing was changed") from fault


def find_operator() -> str:
    """Who acts: git's user, else the login name."""
    parts = [
        subprocess.run(["git", "config", key], capture_output=True, text=True, check=False).stdout.strip()
        for key in ("user.name", "user.email")
    ]
    return f"{parts[0]} <{parts[1]}>" if all(parts) else f"{getpass.getuser()}@{socket.gethostname()}"


def pin_files(stage: StageParams) -> list[Path]:
    """The files a promotion to this stage edits."""
    return [Path(overlay) / PINS_FILE for overlay in stage.overlays]


@contextmanager
def _serving_here(store: ModelStore, deployment: Deployment, model: StoredModel | None) -> Iterator[None]:
    task: Task = deployment.task  # type: ignore[assignment]  # the log keeps plain strings; the store checks it
    before = store.champions().get(task)
    if model is not None:
        installed = store.install(*model)
        # Beside the card, so that whoever has the weights has the signed statement of where they came from.
        copyfile(model.weights_path.with_name(ATTESTATION_FILE), installed.weights_path.with_name(ATTESTATION_FILE))
    store.verify(store.find(deployment.sha256))
    store.set_champion(task, deployment.sha256)
    try:
        yield
    except BaseException:
        if before:
            store.set_champion(task, before)
        raise


@contextmanager
def _aliases_moved(deployment: Deployment, replaced: Deployment | None) -> Iterator[None]:
    """The stage's alias names what serves there; a model that was never registered has none."""
    targets = {each.name: None for each in (replaced,) if each and each.version}
    wanted: dict[str, str | None] = {**targets, **({deployment.name: deployment.version} if deployment.version else {})}
    before = {name: runs.find_alias(name, deployment.stage) for name in wanted}
    for name, version in wanted.items():
        runs.move_alias(name, deployment.stage, version)
    try:
        yield
    except BaseException:
        for name, version in before.items():
            runs.move_alias(name, deployment.stage, version)
        raise


@contextmanager
def _pinned(change: Change, stage: StageParams, log: PromotionLog) -> Iterator[str | None]:
    """Pins edited and committed; the message carries the log's end, a witness that the log is not cut short."""
    deployment, files = change.deployment, pin_files(stage)
    overlays = [Path(overlay) for overlay in stage.overlays]
    files += [overlay / name for overlay in overlays for name in CANARY_FILES]
    before = {path: path.read_text() for path in files if path.exists()}
    committed = None
    try:
        for overlay in overlays:
            write_pin(overlay, deployment)
            # Whichever version won, the comparison is over.
            if read_canary(overlay) == SERVICE_OF_TASK[deployment.task]:
                remove_canary(overlay)
        edited = [path for path, text in before.items() if not path.exists() or path.read_text() != text]
        if edited:
            committed = commit(edited, _message(change, log))
        yield committed
    except BaseException:
        for path, text in before.items():
            path.write_text(text)
        if committed:
            commit(list(before), f"Undo {committed[:12]}: it could not be logged")
        raise


def _message(change: Change, log: PromotionLog) -> str:
    deployment = change.deployment
    changes = log.changes()
    end = f"{changes[-1][0].sequence}:{changes[-1][0].sha256}" if changes else "empty"
    subject = f"{change.kind.capitalize()} {deployment.name}@{deployment.card_version} in {deployment.stage}"
    return (
        f"{subject}\n\n{change.why}\n\nModel: {deployment.uri}\nSha256: {deployment.sha256}\nRun: {deployment.run_id}\n"
        f"Trained-at: {deployment.git_commit}\nData: {deployment.data_md5}\nPromotion-log: {end}\n"
    )
