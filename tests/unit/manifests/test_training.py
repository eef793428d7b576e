"""The training job: what no model of the SDK describes is held to what the code and the cluster need."""

from importlib.util import find_spec

import pytest
import yaml

from training.manifests.house import image_faults
from training.manifests.manifest import Manifest
from training.manifests.safety import privilege_faults
from training.manifests.shapes import shape_faults


@pytest.fixture(scope="module")
def objects(repository):
    folder = repository / "infra" / "training"
    names = yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]
    return {body["kind"]: body for name in names for body in yaml.safe_load_all((folder / name).read_text())}


@pytest.fixture(scope="module")
def pod(objects):
    (job,) = objects["TrainingRuntime"]["spec"]["template"]["spec"]["replicatedJobs"]
    # Trainer finds the pods it tells their ranks by these two.
    assert job["name"] == "node"
    assert job["template"]["metadata"]["labels"] == {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}
    return job["template"]["spec"]["template"]


def test_the_job_runs_a_stage_on_the_runtime_beside_it(objects):
    job = objects["TrainJob"]["spec"]
    assert job["runtimeRef"]["kind"] == "TrainingRuntime"
    assert job["runtimeRef"]["name"] == objects["TrainingRuntime"]["metadata"]["name"]
    assert objects["TrainingRuntime"]["apiVersion"] == objects["TrainJob"]["apiVersion"]
    torchrun, flag, module = job["trainer"]["command"]
    assert (torchrun, flag) == ("torchrun", "-m")
    assert find_spec(module) is not None
    assert job["trainer"]["numNodes"] > 1


def test_its_pods_are_as_safe_as_the_services_and_their_image_can_be_built(repository, objects, pod):
    labels = {"app": "train-face"}
    body = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "train-face"},
        "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, **pod}},
    }
    deployment = Manifest(body)
    assert list(shape_faults(deployment)) == []
    assert list(privilege_faults([deployment, Manifest(objects["ServiceAccount"])])) == []
    assert list(image_faults([deployment], repository / "infra" / "images")) == []


def test_all_nodes_share_one_checkout_and_one_tracking_server(pod):
    (container,) = pod["spec"]["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts["checkout"] == "/checkout"
    assert {volume["name"] for volume in pod["spec"]["volumes"]} == set(mounts)
    assert "MLFLOW_TRACKING_URI" in {variable["name"] for variable in container["env"]}
