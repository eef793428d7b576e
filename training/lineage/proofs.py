"""Proofs: every digest of a lineage, recomputed from the bytes themselves."""

import hashlib
import io
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import fsspec
import yaml
from pydantic import ValidationError

from services.contracts.action import ActionSegment
from services.contracts.card import ModelCard
from services.contracts.clip import ClipRef
from services.contracts.errors import WhodidError
from services.contracts.events import Event
from services.contracts.identity import GalleryRef
from services.events.join import identify_event
from services.models.catalogue import read_pretrained
from services.models.store import CARD_FILE, StoredModel
from services.settings import Settings
from services.signing import public_path, read_public_key
from training.lineage.attestation import ATTESTATION_FILE, digest_card, prove_subjects, unseal
from training.lineage.checkout import Checkout
from training.lineage.node import BrokenLink, Node
from training.promotion.deployments import PromotionLog

_READ_BYTES = 1 << 20


def fail(name: str, fault: str) -> None:
    """What cannot even be opened cannot be proved.

    Raises:
        BrokenLink: Always.
    """
    raise BrokenLink(f"{name}: {fault}")


def prove_event(event: Event) -> None:
    """An event's id is the digest of what it says.

    Raises:
        BrokenLink: It says something else now; also after a subject was forgotten and the name replaced.
    """
    segment = ActionSegment(
        track_id=event.track_id,
        action=event.action,
        start_seconds=event.start_seconds,
        end_seconds=event.end_seconds,
        toward=event.toward,
    )
    found = identify_event(event.clip_id, segment, event.identity, event.provenance, event.behaviour)
    if found != event.event_id:
        raise BrokenLink(
            f"event {event.event_id}: what the archive holds has digest {found}; it was changed, or a name was erased"
        )


def prove_clip(clip: ClipRef) -> None:
    """The clip is where it was, byte for byte.

    Raises:
        BrokenLink: It is gone or changed.
    """
    found = _digest(clip.uri, f"clip {clip.clip_id}")
    if found != clip.clip_id:
        raise BrokenLink(f"clip {clip.clip_id}: {clip.uri} has sha256 {found}")


def prove_evidence(uris: Sequence[str], sha256: str) -> None:
    """Every copy of the bundle that is still there is the one that was read.

    Raises:
        BrokenLink: One is changed, or none is there.
    """
    if not uris:
        raise BrokenLink(f"evidence {sha256}: the archive does not say where it lies")
    for uri in uris:
        found = _digest(uri, f"evidence {sha256}")
        if found != sha256:
            raise BrokenLink(f"evidence {sha256}: {uri} has sha256 {found}")


def prove_weights(model: StoredModel) -> None:
    """The weights are the ones the card names.

    Raises:
        BrokenLink: They are not.
    """
    card, path = model
    found = _digest(str(path), f"weights of {card.name}@{card.version}")
    if found != card.weights.sha256:
        raise BrokenLink(f"weights of {card.name}@{card.version}: {path} has sha256 {found}")


def prove_card(model: StoredModel, settings: Settings, checkout: Checkout | None) -> None:
    """The card is one that was signed, or is under version control with the data, or ships with this program.

    Raises:
        BrokenLink: It was changed, or nothing vouches for it.
    """
    card, weights_path = model
    path = weights_path.with_name(CARD_FILE)
    content = path.read_bytes()
    # What it says is compared below; here that nothing else was slipped in between.
    layouts = (json.dumps(json.loads(content), indent=2, ensure_ascii=False), card.model_dump_json(indent=2))
    if content.decode() not in {text + end for text in layouts for end in ("", "\n")}:
        raise BrokenLink(f"card {path}: it is not laid out as it was written")
    vouched = False
    attestation = weights_path.with_name(ATTESTATION_FILE)
    if attestation.is_file():
        try:
            public = read_public_key(public_path(settings.signing_key))
        except WhodidError as fault:
            raise BrokenLink(f"{attestation} cannot be verified: {fault}") from fault
        prove_subjects(unseal(attestation, public), card, attestation)
        vouched = True
    for network in read_pretrained():
        if network.card.weights.sha256 == card.weights.sha256:
            if digest_card(network.card) != digest_card(card):
                raise BrokenLink(f"card {path}: it is not the one that ships with this program")
            vouched = True
    if not vouched and not _is_versioned(model, checkout):
        raise BrokenLink(
            f"card {path}: nothing vouches for it, neither a signature beside it nor a data version; promote the model"
        )


def prove_commit(commit: str, data_md5: str | None, checkout: Checkout | None) -> None:
    """The commit is whole and pins the data.

    Raises:
        BrokenLink: It does not, or there is no checkout.
    """
    if checkout is None:
        raise BrokenLink(f"commit {commit}: no checkout here; run this inside a clone of the repository")
    checkout.prove_commit(commit, data_md5)


def prove_data(md5: str, checkout: Checkout | None) -> None:
    """Every file of the data version has its digest.

    Raises:
        BrokenLink: The first that has not.
    """
    if checkout is None:
        raise BrokenLink(f"data {md5}: no checkout here; run this inside a clone of the repository")
    checkout.prove_data(md5)


def prove_log(settings: Settings) -> None:
    """The promotion log is whole.

    Raises:
        BrokenLink: It is not.
    """
    try:
        PromotionLog(settings).changes()
    except WhodidError as fault:
        raise BrokenLink(str(fault)) from fault


def describe_graph(sha256: str | None, path: Path, checkout: Checkout | None) -> Node:
    """The graph that was run: this machine's file while it is the same, else the commit that has it."""
    if sha256 is None:
        return Node(
            "graph", "not recorded", {"note": "analysed before graphs were, or where `events` has no graph file"}
        )
    try:
        if hashlib.sha256(path.read_bytes()).hexdigest() == sha256:
            return Node("graph", sha256, {"file": str(path)}, prove=partial(_prove_graph, sha256, path))
    except OSError:
        pass  # gone: a commit may have it
    commit = None if checkout is None else checkout.find_version("infra/base/graph.yaml", sha256)
    if commit is not None:
        facts = {"commit": commit, "note": f"{path} is another one now"}
        return Node("graph", sha256, facts, prove=partial(prove_commit, commit, None, checkout))
    return Node("graph", sha256, {}, prove=partial(_prove_graph, sha256, path))


def _prove_graph(sha256: str, path: Path) -> None:
    """The file is the graph that was run.

    Raises:
        BrokenLink: It is not, and no commit has it.
    """
    found = _digest(str(path), f"graph {sha256}")
    if found != sha256:
        raise BrokenLink(f"graph {sha256}: {path} has sha256 {found}, and no commit here has the one that was run")


def describe_run(model: StoredModel, settings: Settings, checkout: Checkout | None) -> dict[str, str]:
    """Parameters, metrics and environment of a run: as signed at promotion, else as its commit and card have them."""
    attestation = model.weights_path.with_name(ATTESTATION_FILE)
    try:
        if attestation.is_file():
            statement = unseal(attestation, read_public_key(public_path(settings.signing_key)))
            return {"known from": "the signed statement", **_flatten(statement["predicate"])}
    except WhodidError:
        pass  # the card's own proof names the broken statement
    commit = model.card.lineage.git_commit
    facts = {f"metric {name}": f"{value:g}" for name, value in model.card.metrics.items()}
    if checkout is None or commit is None:
        return facts
    try:
        params = yaml.safe_load(io.BytesIO(checkout.read_at(commit, "params.yaml")))
        packages = checkout.read_at(commit, "constraints.txt")
    except BrokenLink:
        return facts
    return {
        "known from": f"card and commit {commit[:12]}",
        **{f"param {name}": str(value) for name, value in _dotted(params)},
        **facts,
        "environment constraints.txt sha256": hashlib.sha256(packages).hexdigest(),
    }


def compare_gallery(reference: GalleryRef, settings: Settings) -> dict[str, str]:
    """The state that was searched, and whether the gallery is still in it."""
    from services.gallery.store import Gallery

    facts = {"space": reference.embedding_space, "subjects": str(reference.subjects)}
    if (held := reference.threshold) is not None:
        facts["threshold"] = (
            f"{held.similarity:.4f}, {held.basis} for {held.subjects} enrolled at FPIR {held.fpir:g} "
            f"(calibrated with {held.calibrated_subjects})"
        )
    try:
        now = Gallery(settings.gallery).snapshot(reference.embedding_space).reference.sha256
    except WhodidError as fault:
        return {**facts, "now": f"cannot be compared: {fault}"}
    return {**facts, "now": "unchanged" if now == reference.sha256 else "changed since: the state searched is not kept"}


def _is_versioned(model: StoredModel, checkout: Checkout | None) -> bool:
    if checkout is None:
        return False
    wanted = f"models/{model.card.name}/{CARD_FILE}"
    for md5 in checkout.data_versions():
        try:
            files = [file for file in checkout.list_data(md5) if file.path == wanted]
            for file in files:
                content = checkout.read_data(file)
                genuine = hashlib.md5(content, usedforsecurity=False).hexdigest() == file.md5
                if genuine and digest_card(ModelCard.model_validate_json(content)) == digest_card(model.card):
                    return True
        except (BrokenLink, ValidationError):
            continue  # another version may have it
    return False


def _digest(uri: str, what: str) -> str:
    digest = hashlib.sha256()
    try:
        with fsspec.open(uri, "rb") as file:
            while block := file.read(_READ_BYTES):
                digest.update(block)
    except Exception as fault:  # every kind of store has its own
        raise BrokenLink(f"{what} cannot be read at {uri}: {fault}") from fault
    return digest.hexdigest()


def _flatten(predicate: dict[str, Any]) -> dict[str, str]:
    build, details = predicate["buildDefinition"], predicate["runDetails"]
    flat = {f"param {name}": value for name, value in build["externalParameters"]["params"].items()}
    for product in details["byproducts"]:
        flat |= {f"{product['name'].rstrip('s')} {name}": value for name, value in product["annotations"].items()}
    for dependency in build["resolvedDependencies"]:
        flat[f"input {dependency['name']}"] = json.dumps(dependency["digest"])
    return {name: f"{value:g}" if isinstance(value, float) else str(value) for name, value in flat.items()}


def _dotted(params: Any, prefix: str = "") -> list[tuple[str, Any]]:
    if not isinstance(params, dict):
        return [(prefix.rstrip("."), params)]
    return [pair for name, value in params.items() for pair in _dotted(value, f"{prefix}{name}.")]
