"""Paths beyond the recorded vectors."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.graph.gjson.document import MISSING, Members
from services.graph.gjson.search import exists, find

PEOPLE = Members(
    [
        ("people", [Members([("name", "ann"), ("age", 31.0)]), Members([("name", "bob|x"), ("age", 17.0)])]),
        ("a|b", 1.0),
        ("empty", []),
    ]
)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("people.#", 2.0),
        ("people.#.name", ["ann", "bob|x"]),
        ("people.#(age>30).name", "ann"),
        ("people.#(age<30)#.age", [17.0]),
        ("people.#(age>99)#", []),
        ("people.#(age>99)", MISSING),
        ('people.#(name=="bob|x").age', 17.0),
        ('people.#(name%"a*").age', 31.0),
        ('people.#(name!%"a*").age', 17.0),
        ("people.#(nope==~null)#|#", 2.0),
        ("people.0.@keys.1", "age"),
        ("people.@reverse.0.name", "bob|x"),
        ("people.1.@values|#", 2.0),
        ("people.@join.name", "bob|x"),
        ("a\\|b", 1.0),
        ("p*.1.ag?", 17.0),
        ("@dig:age", [31.0, 17.0]),
        ("{count:people.#,first:people.0.name}.count", 2.0),
        ("[people.0.age,people.1.age,nope].#(<20)", 17.0),
        ("nope|@keys", []),
        ("nope.x|@keys", MISSING),
        ('!{"k":[1]}.k.0', 1.0),
        ("people.@group", MISSING),
        ("@group.#", 2.0),
        ("people.0.name.@tostr.@fromstr", "ann"),
        ("people.@flatten.@this|1.name", "bob|x"),
    ],
)
def test_a_path_finds(path: str, found: object) -> None:
    assert find(PEOPLE, path) == found


def test_a_later_member_of_the_same_name_is_found_behind_a_scalar() -> None:
    assert exists(b'{"k":1,"k":{"x":2}}', "k.x")


PIECES = st.one_of(
    st.sampled_from(list('a0.|#()[]{}*?\\":,! ')),
    st.sampled_from(["#(", "@this", "@flatten:", "@dig:", "@keys", "@group", "@join", "@tostr", "@fromstr"]),
    st.sampled_from(["~true", "==", ">", "%", ".."]),
)


@given(
    document=st.sampled_from([b'{"a":[{"a":0},[1,"a"],null,true]}', b"[[]]", b'"a"', b"0", b'{"a":']), data=st.data()
)
def test_no_path_crashes(document: bytes, data: st.DataObject) -> None:
    path = "".join(data.draw(st.lists(PIECES, max_size=12)))
    assert exists(document, path) in (True, False)


@given(st.binary(), st.text())
def test_no_document_crashes(document: bytes, path: str) -> None:
    assert exists(document, path) in (True, False)


def test_a_document_nested_too_deep_is_as_good_as_unreadable() -> None:
    assert exists(b"[" * 100_000 + b"]" * 100_000, "#") is True
    assert exists(b'{"a":' * 100_000, "a.a") is False


def test_a_pattern_cannot_make_a_condition_slow() -> None:
    assert not exists(b'{"' + b"a" * 5000 + b'":1}', "*a" * 30 + "b*")
