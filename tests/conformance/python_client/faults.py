"""The client's own classes of errors."""

import openai
from trial import KEYS, client, refuses


def errors(it):
    bad = refuses(openai.BadRequestError, lambda: it.make(size="7x7"))
    assert (bad.param, bad.type) == ("size", "invalid_request_error")
    assert bad.request_id
    assert "7x7" in str(bad), str(bad)
    unknown = refuses(openai.BadRequestError, lambda: it.make(extra_body={"colour": "red"}))
    assert unknown.param == "colour"
    missing = refuses(openai.NotFoundError, lambda: it.client.videos.retrieve("video_none"))
    assert missing.code == "video_not_found"
    endless = it.make(seconds="2", extra_body={"num_inference_steps": 200})
    refuses(openai.ConflictError, lambda: it.client.videos.download_content(endless.id))
    it.client.videos.delete(endless.id)
    with client("nonsense") as stranger:
        refuses(openai.AuthenticationError, stranger.models.list)
    with client(KEYS["narrow"]) as narrow:
        refuses(openai.PermissionDeniedError, narrow.videos.list)
    with client(KEYS["slow"]) as slow:
        slow.models.list()
        limited = refuses(openai.RateLimitError, slow.models.list)
        assert int(limited.response.headers["retry-after"]) > 0


TRIED = {
    "videos (errors)": errors,
}
