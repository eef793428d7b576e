"""Are these two faces one person? Accuracy and TAR at FAR on pairs.

python -m training.metrics.verification --pairs CSV --root DIR --model NAME|CARD --json
"""

import argparse
import csv
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from services.contracts.errors import BadInput
from training.metrics.intervals import bootstrap_interval

if TYPE_CHECKING:
    from services.identity.embed import FaceEmbedder

REJECTED = -1.0
PARTS_OF_A_SINGLE_FOLD = 10
FALSE_ACCEPTANCES = (0.1, 0.01, 0.001)

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """N pairs of pictures, as listed.

    Attributes:
        folds: (N,) str.
        paths: (N, 2) str, relative to the pictures' root.
        same: (N,) bool, whether both show one person.
    """

    folds: NDArray[np.str_]
    paths: NDArray[np.str_]
    same: Flags


def read_pairs(path: Path) -> Pairs:
    """Read a CSV with the columns fold, path_a, path_b, same (0 or 1).

    Raises:
        BadInput: It is absent or empty, a column is missing, or `same` is neither.
    """
    try:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror}") from error
    missing = {"fold", "path_a", "path_b", "same"} - set(rows[0] if rows else ())
    if missing:
        raise BadInput(f"{path}: no rows, or no column {', '.join(sorted(missing))}")
    wrong = {row["same"] for row in rows} - {"0", "1"}
    if wrong:
        raise BadInput(f"{path}: `same` is {sorted(wrong)[0]!r}; expected 0 or 1")
    return Pairs(
        np.array([row["fold"] for row in rows]),
        np.array([[row["path_a"], row["path_b"]] for row in rows]),
        np.array([row["same"] == "1" for row in rows]),
    )


def pick_threshold(similarity_N: Floats, same_N: Flags) -> float:
    """The similarity from which on calling a pair one person is right most often; the lowest such."""
    order = np.argsort(similarity_N)
    ranked, same = similarity_N[order], same_N[order]
    # Cutting before position i: strangers below are right, and so are the same people from there on.
    right = np.concatenate([[0], np.cumsum(~same)]) + np.concatenate([np.cumsum(same[::-1])[::-1], [0]])
    # Ties stand on one side of any threshold.
    possible = np.concatenate([[True], ranked[1:] > ranked[:-1], [True]])
    cut = int(np.where(possible, right, -1).argmax())
    return float(ranked[cut]) if cut < len(ranked) else float(np.nextafter(ranked[-1], np.inf))


def judge_pairs(similarity_N: Floats, same_N: Flags, fold_N: NDArray[np.str_]) -> Flags:
    """(N,) whether each pair is judged rightly, with the threshold picked on all other folds.

    Raises:
        BadInput: There is only one fold, so no others to pick it on.
    """
    folds = np.unique(fold_N)
    if len(folds) < 2:
        raise BadInput(f"only fold {folds.tolist()}: a threshold must be picked on other folds")
    right_N = np.zeros(len(same_N), bool)
    for fold in folds:
        inside = fold_N == fold
        threshold = pick_threshold(similarity_N[~inside], same_N[~inside])
        right_N[inside] = (similarity_N[inside] >= threshold) == same_N[inside]
    return right_N


def accept_at(similarity_N: Floats, same_N: Flags, false_acceptance: float) -> float:
    """True acceptance rate at the lowest threshold whose false acceptance rate is at most that stated."""
    impostors = np.sort(similarity_N[~same_N])[::-1]
    allowed = int(np.floor(false_acceptance * len(impostors) + 1e-9))
    genuine = similarity_N[same_N]
    if allowed >= len(impostors):
        return float((genuine > REJECTED).mean())
    return float((genuine > max(impostors[allowed], REJECTED)).mean())


def measure(pairs: Pairs, similarity_N: Floats, undetected_N: Flags, *, seed: int = 0) -> dict[str, Any]:
    """Everything the command prints.

    Args:
        pairs: What was compared.
        similarity_N: (N,) cosine; ignored where undetected.
        undetected_N: (N,) a picture of the pair in which no face was found.
        seed: Of the bootstrap.
    """
    similarity_N = np.where(undetected_N, REJECTED, similarity_N)
    fold_N, picked_on = pairs.folds, "the other folds"
    if len(np.unique(fold_N)) == 1:
        fold_N = (np.arange(len(fold_N)) % PARTS_OF_A_SINGLE_FOLD).astype(str)
        picked_on = f"the other nine of {PARTS_OF_A_SINGLE_FOLD} interleaved parts (the list has one fold)"
    right_N = judge_pairs(similarity_N, pairs.same, fold_N) & ~undetected_N
    people_N = np.array([str(Path(path).parent) for path in pairs.paths[:, 0]])
    interval = bootstrap_interval(lambda rows: float(right_N[rows].mean()), people_N, seed=seed)
    impostors = int((~pairs.same).sum())
    return {
        "accuracy": float(right_N.mean()),
        "accuracy_ci95": list(interval),
        "tar_at_far": {
            str(far): accept_at(similarity_N, pairs.same, far) for far in FALSE_ACCEPTANCES if far * impostors >= 1
        },
        "undetected": int(undetected_N.sum()),
        "pairs": len(right_N),
        "protocol": (
            f"cosine of single pictures; threshold picked on {picked_on}; the face nearest the centre of "
            "each picture; a pair with an undetected face counts as wrong, and as rejected in tar_at_far; "
            "interval: bootstrap over the people (folders) of path_a, 1000 draws"
        ),
    }


def verify(embedder: "FaceEmbedder", pairs: Pairs, root: Path, *, seed: int = 0) -> dict[str, Any]:
    """Embed every picture of the pairs once and measure; see `measure`.

    Raises:
        BadInput: A picture is absent or cannot be read.
    """
    from training.metrics.faces import embed_pictures

    paths, index_N2 = np.unique(pairs.paths, return_inverse=True)
    faces = embed_pictures(embedder, [root / path for path in paths])
    index_N2 = index_N2.reshape(-1, 2)
    similarity_N = np.einsum("nd,nd->n", faces.vectors[index_N2[:, 0]], faces.vectors[index_N2[:, 1]])
    undetected_N = ~(faces.found[index_N2[:, 0]] & faces.found[index_N2[:, 1]])
    answer = measure(pairs, similarity_N.astype(np.float64), undetected_N, seed=seed)
    return {**answer, "pictures": len(paths), "pictures_undetected": int((~faces.found).sum())}


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, embed, measure, print."""
    from training.metrics.faces import open_embedder

    parser = argparse.ArgumentParser(prog="training.metrics.verification", description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=Path, required=True, help="CSV: fold,path_a,path_b,same")
    parser.add_argument("--root", type=Path, required=True, help="folder the paths are relative to")
    parser.add_argument("--model", required=True, help="name, name@version, sha256, card.json, or champion")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap")
    parser.add_argument("--json", action="store_true", help="print JSON (the default is a summary)")
    options = parser.parse_args(arguments)

    pairs = read_pairs(options.pairs)
    embedder = open_embedder(options.model)
    answer = verify(embedder, pairs, options.root, seed=options.seed)
    answer = {"model": f"{embedder.card.name}@{embedder.card.version}", **answer}
    if options.json:
        sys.stdout.write(json.dumps(answer, indent=2) + "\n")
    else:
        sys.stdout.writelines(f"{name}: {value}\n" for name, value in answer.items())


if __name__ == "__main__":
    from training.stages.entry import run

    run(main)
