"""Attestation: a signed statement of where weights came from, that anybody can verify offline with a public key.

An in-toto statement (subjects: weights and card by sha256; predicate: SLSA provenance) in a DSSE envelope, signed with
this machine's Ed25519 key. Written beside card and weights when a version is promoted.

Source: in-toto Statement v1; SLSA provenance v1; DSSE v1.0 (pre-authentication encoding).
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.contracts.card import ModelCard
from services.signing import PublicKey, SigningKey
from training.lineage.node import BrokenLink

if TYPE_CHECKING:
    from training.runs import RunRecord

ATTESTATION_FILE = "provenance.dsse.json"
_PAYLOAD_TYPE = "application/vnd.in-toto+json"
_BUILD_TYPE = "https://github.com/whodid/training/v1"


def digest_card(card: ModelCard) -> str:
    """sha256 of what a card says; a field that a later version adds, left empty, does not change it."""
    return hashlib.sha256(card.model_dump_json(exclude_defaults=True).encode()).hexdigest()


def make_statement(card: ModelCard, run: "RunRecord | None") -> dict[str, Any]:
    """What is said of a model: its digests, and the run, commit, parameters and data that made it."""
    lineage = card.lineage
    dependencies = []
    if lineage.git_commit:
        dependencies.append({"name": "git", "digest": {"gitCommit": lineage.git_commit}})
    if lineage.data_md5:
        dependencies.append({"name": "data.dvc", "digest": {"md5": lineage.data_md5}})
    inputs = run.inputs if run else {}
    dependencies += [{"name": name, "digest": {"sha256": sha256}} for name, sha256 in sorted(inputs.items())]
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [
            {"name": card.weights.file, "digest": {"sha256": card.weights.sha256}},
            {"name": "card.json", "digest": {"sha256": digest_card(card)}},
        ],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": _BUILD_TYPE,
                "externalParameters": {"source": lineage.source, "params": dict(run.params) if run else {}},
                "resolvedDependencies": dependencies,
            },
            "runDetails": {
                "builder": {"id": _BUILD_TYPE},
                "metadata": {"invocationId": lineage.run_id or lineage.source},
                "byproducts": [
                    {"name": "metrics", "annotations": dict(run.metrics) if run else dict(card.metrics)},
                    {"name": "tags", "annotations": dict(run.tags) if run else {}},
                ],
            },
        },
    }


def seal(statement: Mapping[str, Any], key: SigningKey) -> bytes:
    """The statement in a DSSE envelope, as JSON."""
    payload = json.dumps(statement, sort_keys=True, separators=(",", ":")).encode()
    envelope = {
        "payloadType": _PAYLOAD_TYPE,
        "payload": base64.b64encode(payload).decode(),
        "signatures": [
            {"keyid": key.public.key_id, "sig": base64.b64encode(key.sign(_encode(payload))).decode()},
        ],
    }
    return json.dumps(envelope, sort_keys=True, separators=(",", ":")).encode()


def unseal(path: Path, public: PublicKey) -> dict[str, Any]:
    """The statement, once its signature is proved.

    Raises:
        BrokenLink: It is no envelope, or not signed by this key.
    """
    content = path.read_bytes()
    try:
        envelope = json.loads(content)
        payload = base64.b64decode(envelope["payload"], validate=True)
        signed = [base64.b64decode(each["sig"], validate=True) for each in envelope["signatures"]]
        canonical = json.dumps(envelope, sort_keys=True, separators=(",", ":")).encode() == content
        named = envelope["payloadType"] == _PAYLOAD_TYPE and envelope["signatures"][0]["keyid"] == public.key_id
        # Base64 has several spellings of some bytes.
        canonical = canonical and base64.b64encode(payload).decode() == envelope["payload"]
        canonical = canonical and base64.b64encode(signed[0]).decode() == envelope["signatures"][0]["sig"]
    except (ValueError, KeyError, TypeError, IndexError, binascii.Error, RecursionError):
        raise BrokenLink(f"{path} is not a signed statement: it was changed") from None
    if not canonical or not named or len(signed) != 1 or not public.verifies(signed[0], _encode(payload)):
        raise BrokenLink(f"{path} is not signed by key {public.key_id[:12]}, or was changed")
    statement: dict[str, Any] = json.loads(payload)
    return statement


def prove_subjects(statement: Mapping[str, Any], card: ModelCard, path: Path) -> None:
    """The statement speaks of exactly this card and these weights.

    Raises:
        BrokenLink: It speaks of others.
    """
    said = {each["name"]: each["digest"]["sha256"] for each in statement["subject"]}
    found = {card.weights.file: card.weights.sha256, "card.json": digest_card(card)}
    for name, sha256 in found.items():
        if said.get(name) != sha256:
            raise BrokenLink(f"{path} was signed for {name} {said.get(name, 'nothing')}, this one is {sha256}")


def _encode(payload: bytes) -> bytes:
    kind = _PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
