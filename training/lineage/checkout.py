"""Checkout: what git and DVC know of a commit and of a data version, read offline, and proved.

Git's objects and DVC's are named by their own digest, so nothing here is taken on trust but the names.
"""

import hashlib
import json
import subprocess
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import yaml

from training.lineage.node import BrokenLink

# Where DVC keeps objects: the checkout's cache and the remote that lies in the repository.
_STORES = (Path(".dvc/cache/files/md5"), Path(".data-remote/files/md5"))


@dataclass(frozen=True, slots=True)
class DataFile:
    """One file of a data version."""

    path: str
    md5: str


class Checkout:
    """The repository whose commits and data made the models.

    Args:
        root: Its top folder; `find_checkout` finds it.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def read_at(self, commit: str, path: str) -> bytes:
        """A file as it was at a commit; git checks its digest as it reads.

        Raises:
            BrokenLink: The commit or file is not there, or its object is damaged.
        """
        done = self._git("show", f"{commit}:{path}")
        if done.returncode:
            raise BrokenLink(f"commit {commit}: git cannot read {path}: {done.stderr.decode().strip()}")
        return done.stdout

    def describe_commit(self, commit: str) -> dict[str, str]:
        """Author, date and subject; empty where git does not have it."""
        done = self._git("show", "--no-patch", "--format=%an <%ae>%n%aI%n%s", commit)
        if done.returncode:
            return {}
        author, date, subject = done.stdout.decode().split("\n")[:3]
        return {"author": author, "date": date, "subject": subject}

    def find_version(self, path: str, sha256: str) -> str | None:
        """The latest commit that made a file what it was when it had this digest."""
        for commit in self._git("log", "--format=%H", "--", path).stdout.decode().split():
            try:
                if hashlib.sha256(self.read_at(commit, path)).hexdigest() == sha256:
                    return commit
            except BrokenLink:
                continue  # there it was deleted
        return None

    def prove_commit(self, commit: str, data_md5: str | None) -> None:
        """The commit is there, whole, and pins the data a model says it learned from.

        Raises:
            BrokenLink: It is not.
        """
        if commit.endswith("-dirty"):
            raise BrokenLink(f"commit {commit}: the model was made with changes that were never committed")
        done = self._git("cat-file", "-t", commit)
        if done.returncode or done.stdout.strip() != b"commit":
            raise BrokenLink(f"commit {commit} is not in {self._root}: fetch it, or clone the whole history")
        content = self._git("cat-file", "commit", commit).stdout
        named = hashlib.sha1(b"commit %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
        if named != commit:
            raise BrokenLink(f"commit {commit}: its object has digest {named}")
        if data_md5 is not None:
            pinned = self.data_at(commit)
            if pinned != data_md5:
                raise BrokenLink(f"commit {commit} pins data {pinned}, the model's card says {data_md5}")

    def data_at(self, commit: str) -> str:
        """The data version a commit pins."""
        return str(yaml.safe_load(self.read_at(commit, "data.dvc"))["outs"][0]["md5"])

    def data_versions(self) -> dict[str, str]:
        """Every data version this history ever pinned, newest first, with the commit that pinned it."""
        done = self._git("log", "--format=%H", "--", "data.dvc")
        versions: dict[str, str] = {}
        for commit in done.stdout.decode().split():
            versions.setdefault(self.data_at(commit), commit)
        return versions

    def list_data(self, md5: str) -> list[DataFile]:
        """The files of a data version.

        Raises:
            BrokenLink: Its listing is neither in the cache nor in the remote, or is damaged.
        """
        for place in self._places(md5):
            return _parse_listing(place, place.read_bytes())
        raise BrokenLink(f"data {md5}: its listing is in no store here; run `dvc pull` at the commit that pins it")

    def prove_data(self, md5: str) -> None:
        """Listing and files are what their names say, in every store that has them.

        Raises:
            BrokenLink: The first that is not, or is nowhere.
        """
        self._prove_object(md5, f"data {md5}")
        for file in self.list_data(md5):
            self._prove_object(file.md5, f"data {md5}: {file.path}")

    def find_subjects(self, md5: str) -> dict[str, list[str]]:
        """Who is in a data version, by name, with the files they are in: from its manifests and enrolment folders."""
        files = self.list_data(md5)
        found: dict[str, list[str]] = {}
        for file in files:
            parts = file.path.split("/")
            if parts[0] == "enrol" and len(parts) > 2:
                found.setdefault(parts[1], []).append(file.path)
            elif parts[0] == "scenes" and parts[-1] == "manifest.json":
                for clip, subjects in _read_cast(self.read_data(file)).items():
                    for subject in subjects:
                        found.setdefault(subject, []).append("/".join([*parts[:-1], clip]))
        return dict(sorted(found.items()))

    def read_data(self, file: DataFile) -> bytes:
        """A file of a data version.

        Raises:
            BrokenLink: No store here has it.
        """
        for place in self._places(file.md5):
            return place.read_bytes()
        raise BrokenLink(f"{file.path} ({file.md5}) is in no store here; run `dvc pull`")

    def _prove_object(self, md5: str, what: str) -> None:
        places = self._places(md5)
        if not places:
            raise BrokenLink(f"{what} ({md5}) is in no store here; run `dvc pull`")
        for place in places:
            found = hashlib.md5(place.read_bytes(), usedforsecurity=False).hexdigest()
            if found != md5.removesuffix(".dir"):
                raise BrokenLink(f"{what}: {place} has md5 {found}, expected {md5}")

    def _places(self, md5: str) -> list[Path]:
        paths = [self._root / store / md5[:2] / md5[2:] for store in _STORES]
        return [path for path in paths if path.is_file()]

    def _git(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(["git", *arguments], cwd=self._root, capture_output=True, check=False)


@lru_cache(maxsize=1)
def find_checkout() -> Checkout | None:
    """The checkout this command runs in, or else the one this code lies in."""
    for folder in (Path.cwd(), Path(__file__).parent):
        try:
            done = subprocess.run(
                ["git", "rev-parse", "--show-toplevel"], cwd=folder, capture_output=True, text=True, check=False
            )
        except OSError:
            return None
        root = Path(done.stdout.strip())
        if done.returncode == 0 and (root / "data.dvc").is_file():
            return Checkout(root)
    return None


def _parse_listing(place: Path, content: bytes) -> list[DataFile]:
    try:
        return [DataFile(each["relpath"], each["md5"]) for each in json.loads(content)]
    except (ValueError, KeyError, TypeError):
        raise BrokenLink(f"{place} is not a data version's listing: it was changed") from None


def _read_cast(content: bytes) -> dict[str, list[str]]:
    try:
        clips = json.loads(content)["clips"]
        return {clip["file"]: [person["subject_id"] for person in clip["people"]] for clip in clips}
    except (ValueError, KeyError, TypeError):
        raise BrokenLink("a manifest of scenes cannot be read: it was changed") from None
