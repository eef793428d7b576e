import shutil
import subprocess
from dataclasses import replace

import pytest
import yaml

from services.contracts.errors import BadInput, BadUsage
from training.promotion.deployments import Deployment
from training.promotion.pins import PINS_FILE, check_unchanged, commit, read_pin, write_pin

NEW = Deployment(
    "staging", "action", "action-big", "7", "cccccccccccc", f"s3://bucket/action-big/{'c' * 64}/", "c" * 64,
    run_id="r" * 32, git_commit="d" * 40, data_md5="e" * 32 + ".dir",
)  # fmt: skip


def git(folder, *arguments):
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def overlay(repository, tmp_path, monkeypatch):
    for name, value in {"NAME": "Ada", "EMAIL": "ada@example.org"}.items():
        monkeypatch.setenv(f"GIT_AUTHOR_{name}", value)
        monkeypatch.setenv(f"GIT_COMMITTER_{name}", value)
    folder = tmp_path / "overlay"
    folder.mkdir()
    shutil.copy(repository / "infra/overlays/staging" / PINS_FILE, folder)
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "pins")
    return folder


def documents(overlay):
    return {each["metadata"]["name"]: each for each in yaml.safe_load_all((overlay / PINS_FILE).read_text())}


def test_a_pin_names_uri_digest_and_where_the_weights_were_made(overlay):
    assert write_pin(overlay, NEW)
    action = documents(overlay)["action"]
    predictor = action["spec"]["predictor"]
    assert predictor["model"]["env"] == [{"name": "WHODID_PINS", "value": f"action={NEW.sha256}"}]
    assert predictor["storageUris"] == [{"uri": NEW.uri, "mountPath": "/mnt/models/action"}]
    assert action["metadata"]["annotations"] == {
        "whodid/model": "action-big@cccccccccccc",
        "whodid/run": NEW.run_id,
        "whodid/git-commit": NEW.git_commit,
        "whodid/data": NEW.data_md5,
    }
    assert read_pin(overlay, "action", "staging") == replace(NEW, version="")


def test_other_services_and_comments_stay_byte_for_byte(overlay):
    before = (overlay / PINS_FILE).read_text()
    write_pin(overlay, NEW)
    after = (overlay / PINS_FILE).read_text()
    assert before.split("---")[:2] == after.split("---")[:2]
    assert before.splitlines()[0].startswith("#")


def test_pinning_what_was_pinned_restores_the_very_file(overlay):
    before = (overlay / PINS_FILE).read_text()
    pinned = read_pin(overlay, "action", "staging")
    assert pinned is not None
    assert not write_pin(overlay, pinned)
    write_pin(overlay, NEW)
    write_pin(overlay, pinned)
    assert (overlay / PINS_FILE).read_text() == before


def test_of_a_service_with_two_networks_only_one_is_changed(overlay):
    others = read_pin(overlay, "person_detection", "staging")
    detector = replace(NEW, task="face_detection", name="finder", run_id="", git_commit="", data_md5="")
    write_pin(overlay, detector)
    assert read_pin(overlay, "person_detection", "staging") == others
    assert read_pin(overlay, "face_detection", "staging") == replace(detector, version="")
    assert documents(overlay)["tracks"]["metadata"]["annotations"]["whodid/model"].endswith(" finder@cccccccccccc")


def test_a_behaviour_network_is_pinned_beside_that_of_actions(overlay):
    action = read_pin(overlay, "action", "staging")
    uri = f"s3://bucket/behaviours/{'f' * 64}/"
    behaviour = replace(NEW, task="behaviour", name="behaviours", sha256="f" * 64, uri=uri)
    write_pin(overlay, behaviour)
    assert read_pin(overlay, "behaviour", "staging") == replace(behaviour, version="")
    kept = read_pin(overlay, "action", "staging")
    assert (kept.sha256, kept.uri, kept.name) == (action.sha256, action.uri, action.name)


def test_the_commit_holds_the_pins_and_nothing_else(overlay):
    (overlay / "unfinished").write_text("an operator's own")
    git(overlay, "add", "unfinished")
    write_pin(overlay, NEW)
    commit([overlay / PINS_FILE], "Promote")
    assert git(overlay, "show", "--name-only", "--format=").split() == [f"overlay/{PINS_FILE}"]
    assert git(overlay, "status", "--porcelain").split() == ["A", "overlay/unfinished"]


def test_uncommitted_pins_are_not_committed_along(overlay):
    check_unchanged([overlay / PINS_FILE])
    write_pin(overlay, NEW)
    with pytest.raises(BadUsage, match="not committed"):
        check_unchanged([overlay / PINS_FILE])


@pytest.mark.parametrize("content", [None, "a: [", "kind: Service\nmetadata: {name: action}\n"])
def test_a_folder_without_pins_is_named(tmp_path, content):
    if content is not None:
        (tmp_path / PINS_FILE).write_text(content)
    with pytest.raises(BadInput, match=r"models\.yaml"):
        read_pin(tmp_path, "action", "staging")
