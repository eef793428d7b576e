"""A lineage as OpenLineage run events: one for each training run, one for the analysis.

Source: OpenLineage spec 2-0-2 (RunEvent), openlineage.io.
"""

import uuid
from datetime import UTC, datetime
from typing import Any

from training.lineage.node import Node

_SCHEMA = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
_PRODUCER = "https://github.com/whodid/training/lineage"


def to_openlineage(root: Node) -> list[dict[str, Any]]:
    """Events by what came first: data to models, then clip and models to an event."""
    # An event without a date of its own happened no later than now.
    now = datetime.now(UTC).isoformat(timespec="seconds")
    events: dict[str, dict[str, Any]] = {}
    for node in root.walk():
        if node.kind == "model":
            for run in (part for part in node.parts if part.kind == "run"):
                commit = next((part for part in run.parts if part.kind == "commit"), None)
                events[run.name] = _event(
                    run=str(uuid.UUID(run.name)) if len(run.name) == 32 else _name_run(run),
                    job="training",
                    time=commit.facts.get("date", now) if commit else now,
                    inputs=[_dataset(part) for part in run.parts],
                    outputs=[_dataset(node)],
                )
    if root.kind == "event":
        inputs = [
            _dataset(part) for part in root.parts if part.kind in ("clip", "evidence", "graph", "model", "gallery")
        ]
        events[root.name] = _event(
            run=_name_run(root), job="analysis", time=root.facts.get("at", now), inputs=inputs, outputs=[_dataset(root)]
        )
    return list(events.values())


def _event(
    *, run: str, job: str, time: str, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "eventType": "COMPLETE",
        "eventTime": time,
        "producer": _PRODUCER,
        "schemaURL": _SCHEMA,
        "run": {"runId": run},
        "job": {"namespace": "whodid", "name": job},
        "inputs": inputs,
        "outputs": outputs,
    }


def _dataset(node: Node) -> dict[str, Any]:
    version = {
        "_producer": _PRODUCER,
        "_schemaURL": "https://openlineage.io/spec/facets/1-0-1/DatasetVersionDatasetFacet.json",
        "datasetVersion": node.facts.get("sha256", node.name),
    }
    return {"namespace": "whodid", "name": f"{node.kind}/{node.name}", "facets": {"version": version}}


def _name_run(node: Node) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{node.kind}:{node.name}"))
