"""Shapes: every object against the typed models of the KServe SDK and the Kubernetes client.

The models' own deserialisers drop what they do not know; here an unknown field is a fault, as on a server that
validates strictly. A second importer of kserve beside the endpoint: it reads the SDK's types and serves nothing.
"""

import re
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

from training.manifests.manifest import Manifest

_PLAIN: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "float": (float, int), "bool": (bool,)}
# Numbers or strings on the wire; the SDK says only that they are objects of Go.
_ANYTHING = {"object", "datetime", "ResourceQuantity", "V1beta1MetricQuantity"}
_KSERVE = {
    "InferenceService": ("serving.kserve.io/v1beta1", "V1beta1InferenceService"),
    "InferenceGraph": ("serving.kserve.io/v1alpha1", "V1alpha1InferenceGraph"),
    "ServingRuntime": ("serving.kserve.io/v1alpha1", "V1alpha1ServingRuntime"),
}
# Neither a Secret, which is made in the cluster (infra/platform/secrets.sh), nor anything that grants rights.
_KUBERNETES = {
    "ConfigMap": "v1",
    "Deployment": "apps/v1",
    "Namespace": "v1",
    "NetworkPolicy": "networking.k8s.io/v1",
    "PersistentVolumeClaim": "v1",
    "PodDisruptionBudget": "policy/v1",
    "Service": "v1",
    "ServiceAccount": "v1",
    "StatefulSet": "apps/v1",
}


def shape_faults(manifest: Manifest) -> Iterator[str]:
    """Fields that the object's type does not have, lacks, or has as another type."""
    if manifest.kind in _KSERVE:
        version, model = _KSERVE[manifest.kind]
    elif manifest.kind in _KUBERNETES:
        version, model = _KUBERNETES[manifest.kind], f"V1{manifest.kind}"
    else:
        kinds = ", ".join(sorted({*_KSERVE, *_KUBERNETES}))
        yield f"kind {manifest.kind} is not one these manifests are made of: {kinds}"
        return
    if manifest.body.get("apiVersion") != version:
        yield f"apiVersion {manifest.body.get('apiVersion')!r}: this kind is served as {version}"
    yield from _faults(manifest.body, model, manifest.kind)


def _faults(value: Any, type_name: str, where: str) -> Iterator[str]:
    if value is None or type_name in _ANYTHING:
        return
    if type_name in _PLAIN:
        # To Python a bool is an int.
        if not isinstance(value, _PLAIN[type_name]) or (type_name != "bool" and isinstance(value, bool)):
            yield f"{where} is {value!r}, not {type_name}"
    elif inner := re.fullmatch(r"list\[(.+)]", type_name):
        yield from _list_faults(value, inner[1], where)
    elif inner := re.fullmatch(r"dict[(\[]str, (.+)[)\]]", type_name):
        yield from _map_faults(value, inner[1], where)
    else:
        yield from _model_faults(value, type_name, where)


def _list_faults(value: Any, item_type: str, where: str) -> Iterator[str]:
    if not isinstance(value, list):
        yield f"{where} is not a list"
        return
    for index, item in enumerate(value):
        yield from _faults(item, item_type, f"{where}[{index}]")


def _map_faults(value: Any, item_type: str, where: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{where} is not a map"
        return
    for key, item in value.items():
        yield from _faults(item, item_type, f"{where}.{key}")


def _model_faults(value: Any, type_name: str, where: str) -> Iterator[str]:
    model = _find_model(type_name)
    if not isinstance(value, dict):
        yield f"{where} is {value!r}, not a {type_name}"
        return
    attributes = {wire: attribute for attribute, wire in model.attribute_map.items()}
    given: dict[str, Any] = {}
    for key, item in value.items():
        if key not in attributes:
            yield f"{where}.{key} is no field of {type_name}"
            continue
        given[attributes[key]] = item
        yield from _faults(item, model.openapi_types[attributes[key]], f"{where}.{key}")
    try:
        # The generated constructors check what must be there, and the values of their enums.
        model(**given, local_vars_configuration=_configuration(model))
    except ValueError as fault:
        yield f"{where}: {fault}"


@cache
def _configuration(model: Any) -> Any:
    """A configuration for the constructor to share; by default it makes one each time, which takes longest."""
    return vars(sys.modules[model.__module__])["Configuration"]()


@cache
def _find_model(type_name: str) -> Any:
    import kserve.models
    import kubernetes.client.models

    # The SDK names some types of Kubernetes by their whole Go path.
    short = re.sub(r"^K8sIoApi[A-Z][a-z]+", "", type_name)
    for module in (kserve.models, kubernetes.client.models):
        if (model := getattr(module, short, None)) is not None:
            return model
    raise LookupError(f"neither the KServe SDK nor the Kubernetes client has a type {type_name}")
