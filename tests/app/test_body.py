"""Form fields and the nested values they stand for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.body import nest
from app.errors import InvalidRequest


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([], {}),
        ([("a", "1")], {"a": "1"}),
        ([("a[b]", "1"), ("a[c]", "2")], {"a": {"b": "1", "c": "2"}}),
        ([("a[b][c]", "1")], {"a": {"b": {"c": "1"}}}),
        ([("a[]", "1"), ("a[]", "2")], {"a": ["1", "2"]}),
        ([("a[b][]", "1"), ("a[b][]", "2")], {"a": {"b": ["1", "2"]}}),
        (
            [("l[][id]", "x"), ("l[][id]", "y"), ("l[][scale]", "1"), ("l[][scale]", "2")],
            {"l": [{"id": "x", "scale": "1"}, {"id": "y", "scale": "2"}]},
        ),
    ],
)
def test_flattened_fields_are_nested_again(items, expected):
    assert nest(items) == expected


@pytest.mark.parametrize(
    "items",
    [
        [("a", "1"), ("a", "2")],
        [("a", "1"), ("a[b]", "2")],
        [("a[b]", "1"), ("a", "2")],
        [("a[b]", "1"), ("a[]", "2")],
        [("a[]", "1"), ("a[b]", "2")],
        [("a[][b]", "1"), ("a[]", "2"), ("a[][c]", "3"), ("a[][c]", "4")],
        [("", "1")],
        [("[a]", "1")],
        [("a[", "1")],
        [("a]b", "1")],
        [("a[b]c", "1")],
        [("a[b[c]]", "1")],
        [("a" * 65, "1")],
        [("a[b][c][d][e][f]", "1")],
    ],
)
def test_fields_that_contradict_each_other_or_have_no_meaning_are_refused(items):
    with pytest.raises(InvalidRequest):
        nest(items)


NAME = st.from_regex(r"[ab\[\]]{0,12}", fullmatch=True)


@given(st.lists(st.tuples(NAME, st.text(max_size=3)), max_size=8))
def test_no_field_names_break_the_reader(items):
    try:
        fields = nest(items)
    except InvalidRequest:
        return
    assert isinstance(fields, dict)


def flatten(value, name):
    """As the official SDK flattens."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from flatten(inner, f"{name}[{key}]" if name else key)
    elif isinstance(value, list):
        for inner in value:
            yield f"{name}[]", inner
    else:
        yield name, value


KEY = st.from_regex(r"[a-z]{1,5}", fullmatch=True)
TREE = st.dictionaries(
    KEY,
    st.recursive(
        st.text(max_size=5) | st.lists(st.text(max_size=5), min_size=1, max_size=3),
        lambda inner: st.dictionaries(KEY, inner, min_size=1, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)


@given(TREE)
def test_what_was_flattened_comes_back(tree):
    items = list(flatten(tree, ""))
    if all(name.count("[") <= 4 for name, _ in items):
        assert nest(items) == tree
