"""Manifest: one Kubernetes object as an overlay builds it."""

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from services.contracts.errors import BadInput, BadUsage


@dataclass(frozen=True, slots=True)
class Manifest:
    """One object, as it would be sent to the cluster."""

    body: dict[str, Any]

    @property
    def kind(self) -> str:
        """`InferenceService`, `NetworkPolicy`, ..."""
        return str(self.body.get("kind"))

    @property
    def name(self) -> str:
        """`metadata.name`."""
        return str(self.at("metadata", "name"))

    @property
    def title(self) -> str:
        """Kind and name, for messages."""
        return f"{self.kind}/{self.name}"

    def at(self, *keys: str | int) -> Any:
        """What lies at a path; None where the path ends early."""
        found: Any = self.body
        for key in keys:
            if isinstance(key, int):
                found = found[key] if isinstance(found, list) and len(found) > key else None
            else:
                found = found.get(key) if isinstance(found, dict) else None
        return found

    def annotations(self) -> dict[str, str]:
        """`metadata.annotations`, empty when there are none."""
        return dict(self.at("metadata", "annotations") or {})

    def containers(self) -> Iterator[dict[str, Any]]:
        """Every container of the object, wherever its pod template lies."""
        yield from _find_containers(self.body)

    def pod(self) -> dict[str, Any] | None:
        """The part that becomes a pod's spec, or None for objects without one."""
        paths = {
            "Deployment": ("spec", "template", "spec"),
            "StatefulSet": ("spec", "template", "spec"),
            "InferenceService": ("spec", "predictor"),
        }
        return self.at(*paths[self.kind]) if self.kind in paths else None


def of_kind(manifests: Sequence[Manifest], kind: str) -> dict[str, Manifest]:
    """The objects of one kind, by name."""
    return {manifest.name: manifest for manifest in manifests if manifest.kind == kind}


def build(folder: Path) -> list[Manifest]:
    """Build a kustomization.

    Raises:
        BadUsage: There is no kubectl here.
        BadInput: It does not build; the message is kubectl's.
    """
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        raise BadUsage("kubectl is not on the PATH: install it (Debian: kubernetes-client), no cluster is needed")
    built = subprocess.run([kubectl, "kustomize", str(folder)], capture_output=True, text=True, check=False)
    if built.returncode:
        raise BadInput(f"{folder} does not build: {built.stderr.strip()}")
    return [Manifest(body) for body in yaml.safe_load_all(built.stdout) if body]


def _find_containers(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in ("containers", "initContainers") and isinstance(inner, list):
                yield from (container for container in inner if isinstance(container, dict))
            else:
                yield from _find_containers(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _find_containers(inner)
