"""A small client of Kinora's HTTP API, for the commands: standard request shapes, clear errors."""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import httpx

#: A create that carries an image over a slow line takes a while; everything else is quick.
TIMEOUT = httpx.Timeout(60.0, connect=5.0)
#: The server reads an uploaded video before it answers.
UPLOAD_TIMEOUT = httpx.Timeout(300.0, connect=5.0)
#: Seconds after which a server that does not answer is worth another try.
RETRY_S = 2.0
#: Most videos that the server tells at once.
PAGE = 100

#: A video as the server shows it.
Video = dict[str, Any]


class ServerError(Exception):
    """The server refused or failed; `status` is 0 when it could not be reached at all.

    `retry_after_s` is None where asking again would not help.
    """

    def __init__(
        self,
        message: str,
        status: int = 0,
        param: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.param = param
        self.retry_after_s = retry_after_s

    @property
    def is_refusal(self) -> bool:
        """Whether the server was there, and said no."""
        return 400 <= self.status < 500


@dataclass(frozen=True, slots=True)
class Client:
    """Calls one server; close it, or use it as a context."""

    http: httpx.Client

    @classmethod
    def of(cls, server: str, key: str | None = None) -> Self:
        """A client of the server at `server`, the address without `/v1`. Raises ServerError where
        that is none, or the key none.
        """
        if key and not key.isascii():
            raise ServerError("the key is none: keys have no other than ASCII letters", 401)
        headers = {"authorization": f"Bearer {key}"} if key else {}
        base = server.rstrip("/").removesuffix("/v1")
        # A download may be redirected to the storage; httpx shows the key to no other host.
        try:
            http = httpx.Client(
                base_url=base, headers=headers, timeout=TIMEOUT, follow_redirects=True
            )
        except httpx.InvalidURL as error:
            raise ServerError(f"{server} is no address of a server: {error}", 400) from error
        return cls(http)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        self.http.close()

    def is_ready(self) -> bool:
        """Whether the server could make a video now."""
        try:
            return self.http.get("/readyz").status_code == 200
        except httpx.HTTPError:
            return False

    def is_alive(self) -> bool:
        """Whether a Kinora server answers at this address."""
        try:
            answer = self.http.get("/healthz", timeout=2.0)
            return answer.status_code == 200 and answer.json() == {"status": "ok"}
        except (httpx.HTTPError, ValueError):
            return False

    def create(
        self,
        fields: dict[str, Any],
        files: Mapping[str, Path | bytes] | None = None,
        *,
        path: str = "/v1/videos",
    ) -> Video:
        """Asks for a video. Files are sent as they are; bytes are pictures, PNG."""
        if not files:
            return self._call("POST", path, json=fields)
        text = {name: _text(value) for name, value in fields.items()}
        with ExitStack() as opened:
            parts = {
                name: ("image.png", given)
                if isinstance(given, bytes)
                else (given.name, opened.enter_context(given.open("rb")))
                for name, given in files.items()
            }
            return self._call("POST", path, data=text, files=parts, timeout=UPLOAD_TIMEOUT)

    def model(self, name: str | None = None) -> dict[str, Any]:
        """What a model can do; without a name, the one that a request without a name gets."""
        return self._call("GET", f"/v1/models/{quote(name or 'sora-2', safe='')}")

    def get(self, video_id: str) -> Video:
        """The video as it is now."""
        return self._call("GET", f"/v1/videos/{quote(video_id, safe='')}")

    def list(self, limit: int, **filters: str | None) -> Iterator[Video]:
        """The newest videos, page after page: of those made before `after`, with `search` in their
        prompt, and of one `status`.
        """
        params: dict[str, Any] = {name: value for name, value in filters.items() if value}
        while limit > 0:
            page = self._call("GET", "/v1/videos", params=params | {"limit": min(limit, PAGE)})
            yield from page["data"]
            limit -= len(page["data"])
            if not page["has_more"]:
                return
            params["after"] = page["last_id"]

    def delete(self, video_id: str) -> None:
        """Deletes a video."""
        self._call("DELETE", f"/v1/videos/{quote(video_id, safe='')}")

    def cancel(self, video_id: str) -> Video:
        """Stops a video that is not finished."""
        return self._call("POST", f"/v1/videos/{quote(video_id, safe='')}/cancel")

    def content(self, video_id: str, variant: str = "video") -> Iterator[bytes]:
        """The finished video's file, in chunks; `variant` is a picture of it or its preview."""
        path = f"/v1/videos/{quote(video_id, safe='')}/content"
        retry_after_s: float | None = RETRY_S
        try:
            with self.http.stream("GET", path, params={"variant": variant}) as answer:
                if answer.is_error:
                    answer.read()
                    raise _error(answer)
                retry_after_s = None  # chunks cannot be taken back
                yield from answer.iter_bytes(1 << 18)
        except httpx.HTTPError as error:
            said = f"the download stopped: {_cause(error)}"
            raise ServerError(said, retry_after_s=retry_after_s) from error

    def download(self, video_id: str, target: Path, variant: str = "video") -> None:
        """Stores the finished video at `target`, all of it or nothing."""
        part = target.with_name(target.name + ".part")
        try:
            with part.open("wb") as file:
                for chunk in self.content(video_id, variant):
                    file.write(chunk)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)

    def _call(self, method: str, path: str, **body: Any) -> dict[str, Any]:
        try:
            answer = self.http.request(method, path, **body)
        except httpx.HTTPError as error:
            said = f"no answer from {self.http.base_url}: {_cause(error)}"
            raise ServerError(said, retry_after_s=RETRY_S) from error
        if answer.is_error:
            raise _error(answer)
        return answer.json()


def _text(value: Any) -> str:
    """A field as a form carries it: objects and lists as JSON, true and false in small letters."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _cause(error: httpx.HTTPError) -> str:
    return str(error) or type(error).__name__


def _error(answer: httpx.Response) -> ServerError:
    status, wait_s = answer.status_code, None
    if status in (429, 502, 503, 504):
        told = answer.headers.get("retry-after", "")
        wait_s = float(told) if told.isdecimal() else RETRY_S
    try:
        error = answer.json()["error"]
        return ServerError(error["message"], status, error["param"], wait_s)
    except (json.JSONDecodeError, KeyError, TypeError):
        said = answer.text[:200] or answer.reason_phrase
        return ServerError(f"status {status}: {said}", status, retry_after_s=wait_s)
