"""Every condition the real library was asked about gets the same answer here."""

import json
from pathlib import Path
from typing import Any

import pytest

from services.graph.gjson.search import exists

VECTORS = json.loads(Path(__file__).with_name("gjson_vectors.json").read_text())


def _name(case: dict[str, Any]) -> str:
    return f"{case['Query']!r} on {case['Doc']}"


@pytest.mark.parametrize("case", VECTORS["cases"], ids=_name)
def test_a_path_exists_where_gjson_finds_it(case: dict[str, Any]) -> None:
    document = VECTORS["docs"][case["Doc"]].encode()
    assert exists(document, case["Query"]) == case["Exists"]
