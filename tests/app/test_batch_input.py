"""What a batch's file may hold."""

import json

import pytest

from app.batch_input import lines_of, read


def line(custom_id, **change):
    whole = {"custom_id": custom_id, "method": "POST", "url": "/v1/videos", "body": {}}
    return json.dumps(whole | change).encode()


def found(*lines, max_lines=3, max_bytes=200):
    return read(lines_of([b"\n".join(lines)], max_bytes), "/v1/videos", max_lines, max_bytes)


def test_blank_lines_count_as_lines_and_not_as_requests():
    assert {2: "a", 4: "b"} == found(b"", line("a"), b" \r", line("b"), b"").custom_ids


@pytest.mark.parametrize("size", [1, 7, 50, 10_000])
def test_lines_are_the_same_however_the_bytes_arrive(size):
    data = b"\n".join((line("a"), b"", line("b"), b"x" * 300, line("c")))
    chunks = [data[at : at + size] for at in range(0, len(data), size)]
    lines = list(lines_of(chunks, 200))
    assert [1, 3, 4, 5] == [number for number, _ in lines]
    assert [line("a"), line("b"), b"x" * 201, line("c")] == [text for _, text in lines]


@pytest.mark.parametrize(
    ("lines", "code", "number"),
    [
        ((), "empty_file", None),
        ((b"nonsense",), "invalid_json_line", 1),
        ((b"", b"[]"), "invalid_json_line", 2),
        ((b"[" * 150,), "invalid_json_line", 1),
        ((line("a"), line("a")), "duplicate_custom_id", 2),
        ((line("a", url="/v1/images"),), "mismatched_url", 1),
        ((line("a", method="GET"),), "invalid_method", 1),
        ((line("a", body="x"),), "invalid_body", 1),
        ((line("a", colour="red"),), "unknown_parameter", 1),
        ((b'{"custom_id": "a"}',), "missing_required_parameter", 1),
        ((line(7),), "invalid_custom_id", 1),
        ((line("\0"),), "invalid_custom_id", 1),
        ((line("\ud800"),), "invalid_json_line", 1),
        ((line("a", body={"prompt": "x" * 200}),), "line_too_long", 1),
        (tuple(line(name) for name in "abcd"), "too_many_lines", 4),
    ],
)
def test_what_is_wrong_is_named_with_its_line(lines, code, number):
    error = found(*lines).errors[0]
    assert (code, number) == (error["code"], error["line"])
