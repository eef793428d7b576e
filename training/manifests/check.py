"""Check: every rule on everything an overlay builds."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from training.manifests.house import image_faults, naming_faults, pin_faults, secret_faults
from training.manifests.manifest import Manifest, of_kind
from training.manifests.safety import audit_faults, network_faults, privilege_faults, running_faults
from training.manifests.shapes import shape_faults
from training.manifests.webhooks import webhook_faults


def find_faults(overlay: Sequence[Manifest], images: Path) -> Iterator[str]:
    """Everything wrong with a built kustomization.

    Args:
        overlay: What it builds.
        images: The folder with a folder for every image of ours.
    """
    misshapen = [f"{manifest.title}: {fault}" for manifest in overlay for fault in shape_faults(manifest)]
    if misshapen:
        # The other rules read fields and may take their types for granted.
        yield from misshapen
        return
    for manifest in overlay:
        for fault in webhook_faults(manifest, overlay):
            yield f"{manifest.title}: {fault}"
    titles = [(manifest.kind, manifest.name, manifest.at("metadata", "namespace")) for manifest in overlay]
    for kind, name, namespace in {title for title in titles if titles.count(title) > 1}:
        yield f"{kind}/{name} is there twice in namespace {namespace}"
    yield from image_faults(overlay, images)
    yield from secret_faults(overlay)
    yield from privilege_faults(overlay)
    yield from network_faults(overlay)
    # The platform holds no services; whatever has a graph must have all of them.
    if of_kind(overlay, "InferenceGraph") or of_kind(overlay, "InferenceService"):
        yield from naming_faults(overlay)
        yield from pin_faults(overlay)
        yield from running_faults(overlay)
        yield from audit_faults(overlay)
