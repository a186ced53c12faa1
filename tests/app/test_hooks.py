"""The hooks before the queue; the services behind them are somebody else's."""

import json

import httpx
import pytest

from app.contract.settings import Settings
from app.errors import InvalidRequest, Unavailable
from app.hooks import LONG_CHARS, Hooks

MODERATION = "https://moderation.example/v1/moderations"
EXPANDER = "https://words.example/v1/chat/completions"


@pytest.fixture
def hooks(tmp_path):
    """Hooks before a service that answers with `answer`; what it was asked is in `asked`."""

    def hooks(answer, asked=None, **settings):
        def serve(request):
            if asked is not None:
                asked.append((str(request.url), request.headers, json.loads(request.content)))
            if isinstance(answer, Exception):
                raise answer
            return (
                answer if isinstance(answer, httpx.Response) else httpx.Response(200, json=answer)
            )

        return Hooks(Settings(data=tmp_path, **settings), httpx.MockTransport(serve))

    return hooks


def verdict(*flags):
    return {
        "results": [{"flagged": f, "categories": {"violence": f, "hate": False}} for f in flags]
    }


def words(text):
    return {"choices": [{"message": {"role": "assistant", "content": text}}]}


BROKEN = [
    httpx.ConnectError("no"),
    httpx.ReadTimeout("late"),
    httpx.Response(500),
    httpx.Response(200, text="<html>"),
    {},
    [],
    {"results": [{}], "choices": []},
    {"results": [], "choices": []},
    httpx.Response(200, text=r'{"choices": [{"message": {"content": "a ball \ud83d"}}]}'),
    {"results": None, "choices": [{"message": {"content": None}}]},
]


def test_without_an_address_nobody_is_asked(hooks):
    asked = []
    off = hooks({}, asked)
    off.moderate("anything")
    assert "a ball" == off.expand("a ball", 4)
    assert not asked


def test_every_text_is_shown_to_the_moderation(hooks):
    asked = []
    given = {"moderation_url": MODERATION, "moderation_key": "k", "moderation_model": "m"}
    hooks(verdict(False, False), asked, **given).moderate("a ball", "a cube")
    ((url, headers, body),) = asked
    assert (MODERATION, "Bearer k") == (url, headers["authorization"])
    assert {"input": ["a ball", "a cube"], "model": "m"} == body


def test_a_flagged_prompt_is_refused_with_the_reason(hooks):
    for flagged, param in (((True, False), "prompt"), ((False, True), "storyboard.0.prompt")):
        with pytest.raises(InvalidRequest, match="violence") as refused:
            hooks(verdict(*flagged), moderation_url=MODERATION).moderate("a", "b")
        assert (param, "moderation_blocked") == (refused.value.param, refused.value.code)


@pytest.mark.parametrize("answer", BROKEN)
def test_while_the_moderation_fails_prompts_are_refused_or_pass_as_it_is_set(hooks, answer):
    with pytest.raises(Unavailable, match="moderation"):
        hooks(answer, moderation_url=MODERATION).moderate("a ball")
    hooks(answer, moderation_url=MODERATION, moderation_required=False).moderate("a ball")


def test_a_short_prompt_is_written_out_and_a_long_one_is_not(hooks):
    asked = []
    given = {"prompt_expander_url": EXPANDER, "prompt_expander_model": "m"}
    some = hooks(words(" A red ball\nrolls. \0"), asked, **given)
    assert "A red ball rolls." == some.expand("a ball", 4)
    assert LONG_CHARS * "x" == some.expand(LONG_CHARS * "x", 4)
    ((url, headers, body),) = asked
    assert EXPANDER == url and "authorization" not in headers
    assert "m" == body["model"] and "lasts 4 seconds" in body["messages"][0]["content"]
    assert {"role": "user", "content": "a ball"} == body["messages"][1]


def test_a_written_out_prompt_is_not_longer_than_one_may_be(hooks):
    some = hooks(words("x" * 99), prompt_expander_url=EXPANDER, max_prompt_chars=50)
    assert 50 == len(some.expand("a ball", 4))


@pytest.mark.parametrize("answer", [*BROKEN, words("  ")])
def test_while_the_expander_fails_prompts_pass_or_are_refused_as_it_is_set(hooks, answer):
    given = {"prompt_expander_url": EXPANDER}
    assert "a ball" == hooks(answer, **given).expand("a ball", 4)
    with pytest.raises(Unavailable, match="expander"):
        hooks(answer, **given, prompt_expander_required=True).expand("a ball", 4)
