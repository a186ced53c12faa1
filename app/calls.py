"""The commands that call a server: make a video, and see to the ones that were made."""

import json
import sys
from collections.abc import Generator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from app.options import Data, Key, Server, fail, settings_of

calls = typer.Typer()

VideoId = Annotated[str, typer.Argument(help="As `kinora list` shows it.", metavar="ID")]
VideoIds = Annotated[list[str], typer.Argument(help="One or more, as `kinora list` shows them.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the server's records as JSON.")]


class Format(str, Enum):  # noqa: UP042  (typer takes its values, StrEnum changes nothing)
    """What is stored of a video."""

    MP4 = "mp4"
    WEBP = "webp"
    GIF = "gif"


class Direction(str, Enum):  # noqa: UP042
    """Which end of a video is extended."""

    FORWARD = "forward"
    BACKWARD = "backward"


FormatOf = Annotated[
    Format | None, typer.Option("--format", help="Default: the file's suffix, or MP4.")
]


@calls.command()
def generate(
    prompt: Annotated[str, typer.Argument(help="What is to be seen.")],
    image: Annotated[str | None, typer.Option(help="First frame: a picture or its URL.")] = None,
    last_image: Annotated[str | None, typer.Option(help="Last frame.")] = None,
    video: Annotated[str | None, typer.Option(help="A video to make anew: file or id.")] = None,
    remix: Annotated[str | None, typer.Option(help="Id of a video to remix.")] = None,
    strength: Annotated[
        float | None,
        typer.Option(help="How far to go from --video or --remix: above 0, at most 1."),
    ] = None,
    extend: Annotated[str | None, typer.Option(help="A video to go on from: file or id.")] = None,
    direction: Annotated[Direction | None, typer.Option(help="End at which --extend adds.")] = None,
    blend: Annotated[
        tuple[str, str] | None,
        typer.Option(help="Two videos: the first is led into the second."),
    ] = None,
    loop: Annotated[  # noqa: FBT002  (typer makes a flag of it)
        bool, typer.Option("--loop", help="The end leads back to the beginning.")
    ] = False,
    storyboard: Annotated[
        Path | None,
        typer.Option(help="File of shots: a line `SECONDS PROMPT` each, or JSON."),
    ] = None,
    size: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT in pixels.")] = None,
    seconds: Annotated[float | None, typer.Option(help="Length of what is made.")] = None,
    fps: Annotated[int | None, typer.Option(help="Frames per second.")] = None,
    style: Annotated[str | None, typer.Option(help="One of the model's styles.")] = None,
    negative_prompt: Annotated[str | None, typer.Option(help="What is not to be seen.")] = (None),
    seed: Annotated[int | None, typer.Option(help="The same seed, the same video.")] = None,
    n: Annotated[
        int | None, typer.Option("--n", "-n", help="How many, with seeds in a row.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="A model of the server.")] = None,
    steps: Annotated[int | None, typer.Option(help="Denoising steps.")] = None,
    guidance: Annotated[float | None, typer.Option(help="Pull of the prompt.")] = None,
    guidance_2: Annotated[
        float | None, typer.Option(help="The same, for the second expert of a model.")
    ] = None,
    flow_shift: Annotated[
        float | None, typer.Option(help="Shift of the schedule towards noise.")
    ] = None,
    priority: Annotated[int | None, typer.Option(help="Higher ones are made first.")] = None,
    metadata: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE to keep with it; may repeat.")
    ] = None,
    webhook_url: Annotated[
        str | None, typer.Option(help="Address that is told when it is done.")
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", help="Default: video.mp4 here, or as --format says; - is stdout."
        ),
    ] = None,
    kind: FormatOf = None,
    open_: Annotated[bool, typer.Option("--open", help="Show it when it is done.")] = False,  # noqa: FBT002
    as_json: AsJson = False,  # noqa: FBT002
    server: Server = None,
    key: Key = None,
    data: Data = None,
) -> None:
    """Make a video. With no server running here, one is started for this call.

    Exit codes: 0 done, 1 the video failed, 2 the request was refused, 3 no server, 130 interrupted.
    """
    from app.generate import Target
    from app.generate import generate as make
    from app.local import reach
    from app.wishes import WishError, wish

    options = {
        "image": image,
        "last-image": last_image,
        "strength": strength,
        "direction": direction and direction.value,
        "loop": loop or None,
        "storyboard": storyboard,
        "size": size,
        "seconds": seconds,
        "fps": fps,
        "style": style,
        "negative-prompt": negative_prompt,
        "seed": seed,
        "n": n,
        "model": model,
        "steps": steps,
        "guidance": guidance,
        "guidance-2": guidance_2,
        "flow-shift": flow_shift,
        "priority": priority,
        "metadata": metadata or None,
        "webhook-url": webhook_url,
    }
    if output == "-":
        for flag, given in (("--json", as_json), ("--open", open_), ("--n", (n or 1) > 1)):
            if given:
                fail(f"{flag} cannot be given with -o -, which writes one video to standard output")
    with _faults_told():
        try:
            sources = {"video": video, "remix": remix, "extend": extend, "blend": blend}
            wished = wish(prompt, sources, options)
        except WishError as error:
            fail(str(error))
        format_ = kind.value if kind else ""
        target = Target(output or f"video.{format_ or 'mp4'}", format_)
        target.check()
        with reach(server, key, settings_of(data=data)) as client:
            code = make(client, wished, target, as_json=as_json)
    if open_ and code == 0:
        typer.launch(str(target.file(0, n or 1)))
    sys.exit(code)


@calls.command("list")
def list_videos(
    limit: Annotated[int, typer.Option(min=1, help="How many.")] = 20,
    after: Annotated[str | None, typer.Option(help="Those made before this one.")] = None,
    search: Annotated[str | None, typer.Option(help="Those with these words.")] = None,
    status: Annotated[
        str | None, typer.Option(help="queued, in_progress, completed, failed; with commas.")
    ] = None,
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """List the newest videos."""
    from app.local import running

    with _faults_told(), running(server, key, settings_of()) as client:
        for video in client.list(limit, after=after, search=search, status=status):
            typer.echo(json.dumps(video, ensure_ascii=False) if as_json else _line(video))


@calls.command()
def show(video_id: VideoId, server: Server = None, key: Key = None) -> None:
    """Print a video's record as JSON."""
    from app.local import running

    with _faults_told(), running(server, key, settings_of()) as client:
        typer.echo(json.dumps(client.get(video_id), ensure_ascii=False, indent=2))


@calls.command()
def watch(video_ids: VideoIds, server: Server = None, key: Key = None) -> None:
    """Follow videos until they are finished; exit code 1 when one fails."""
    from rich.console import Console

    from app.generate import FAILED
    from app.generate import watch as follow
    from app.local import running

    with _faults_told(), running(server, key, settings_of()) as client:
        console = Console(stderr=True, highlight=False)
        videos = follow(client, [client.get(each) for each in video_ids], console)
    for video in videos:
        typer.echo(_line(video))
    sys.exit(FAILED if any(video["status"] == "failed" for video in videos) else 0)


@calls.command()
def download(
    video_id: VideoId,
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="Default: ID.mp4 here; - is stdout.")
    ] = None,
    kind: FormatOf = None,
    server: Server = None,
    key: Key = None,
) -> None:
    """Store a finished video in a file."""
    from app.generate import Target
    from app.local import running

    wanted = kind.value if kind else ""
    target = Target(output or f"{video_id}.{wanted or 'mp4'}", wanted)
    with _faults_told(), running(server, key, settings_of()) as client:
        target.check()
        if (file := target.store(client, video_id)) is not None:
            typer.echo(file)


@calls.command()
def cancel(video_ids: VideoIds, server: Server = None, key: Key = None) -> None:
    """Stop videos that are queued or being made."""
    from app.local import running

    with _faults_told(), running(server, key, settings_of()) as client:
        for video_id in video_ids:
            typer.echo(_line(client.cancel(video_id)))


@calls.command()
def delete(video_ids: VideoIds, server: Server = None, key: Key = None) -> None:
    """Delete videos; one that is being made is cancelled first."""
    from app.local import running

    with _faults_told(), running(server, key, settings_of()) as client:
        for video_id in video_ids:
            client.delete(video_id)


@contextmanager
def _faults_told() -> Generator[None]:
    """Errors as one sentence and an exit code: 2 refused or impossible, 3 no server."""
    from app.client import ServerError
    from app.generate import UNREACHABLE, exit_code
    from app.local import StartError

    try:
        yield
    except StartError as error:
        fail(str(error), UNREACHABLE)
    except BrokenPipeError:
        raise  # who reads the output wants no more of it: no fault to be told
    except (ServerError, OSError) as error:
        fail(str(error), exit_code(error))


def _line(video: dict[str, Any]) -> str:
    """A video in one line, tabs between its values."""
    state = video["error"]["code"] if video["error"] else f"{video['progress']} %"
    prompt = " ".join(video["prompt"].split())[:60]
    return "\t".join((video["id"], video["status"], state, video["size"], prompt))
