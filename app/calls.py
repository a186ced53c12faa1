"""The commands that call a server: make a video, and see to the ones that were made."""

import json
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from app.options import Data, Key, Server, fail, settings_of

calls = typer.Typer()

VideoId = Annotated[str, typer.Argument(help="As `kinora list` shows it.", metavar="ID")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the server's records as JSON.")]


@calls.command()
def generate(
    prompt: Annotated[str, typer.Argument(help="What is to be seen.")],
    output: Annotated[
        str, typer.Option("--output", "-o", help="File to write; - is stdout.")
    ] = "video.mp4",
    image: Annotated[
        Path | None, typer.Option(help="First frame: a picture, fitted to the size.")
    ] = None,
    video: Annotated[
        Path | None, typer.Option(help="A video to make anew; its size and length are kept.")
    ] = None,
    strength: Annotated[
        float | None, typer.Option(help="How far to go from --video: above 0, at most 1.")
    ] = None,
    size: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT in pixels.")] = None,
    seconds: Annotated[float | None, typer.Option(help="Length of the clip.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same clip.")] = None,
    model: Annotated[str | None, typer.Option(help="A model of the server.")] = None,
    steps: Annotated[int | None, typer.Option(help="Denoising steps.")] = None,
    guidance: Annotated[
        float | None, typer.Option(help="How closely to follow the prompt.")
    ] = None,
    negative: Annotated[str | None, typer.Option(help="What is not to be seen.")] = None,
    fps: Annotated[int | None, typer.Option(help="Frames per second.")] = None,
    server: Server = None,
    key: Key = None,
    data: Data = None,
    as_json: AsJson = False,  # noqa: FBT002  (typer makes a flag of it)
) -> None:
    """Make one video. With no server running here, one is started for this call.

    Exit codes: 0 done, 1 the video failed, 2 the request was refused, 3 no server, 130 interrupted.
    """
    from app.generate import Target
    from app.generate import generate as make
    from app.local import reach

    if as_json and output == "-":
        fail("--json and -o - would both write to standard output")
    if video is None and strength is not None:
        fail("--strength says how far to go from a video: give it with --video")
    for name, value in (("image", image), ("size", size), ("seconds", seconds), ("fps", fps)):
        if video is not None and value is not None:
            fail(f"--{name} cannot be given with --video, whose size, rate and length are kept")
    fields: dict[str, Any] = {
        "prompt": prompt,
        "model": model,
        "size": size,
        "seconds": seconds,
        "seed": seed,
        "num_inference_steps": steps,
        "guidance_scale": guidance,
        "negative_prompt": negative,
        "fps": fps,
        "strength": strength,
    }
    given = {name: value for name, value in fields.items() if value is not None}
    with _faults_told(), reach(server, key, settings_of(data=data)) as client:
        target = Target(output)
        sys.exit(make(client, given, target, image=image, video=video, as_json=as_json))


@calls.command("list")
def list_videos(
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many.")] = 20,
    after: Annotated[str | None, typer.Option(help="Those made before this one.")] = None,
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """List the newest videos."""
    from app.local import running

    with _faults_told(), running(server, key, settings_of()) as client:
        for video in client.list(limit, after):
            typer.echo(json.dumps(video, ensure_ascii=False) if as_json else _line(video))


@calls.command()
def show(video_id: VideoId, server: Server = None, key: Key = None) -> None:
    """Print a video's record as JSON."""
    from app.local import running

    with _faults_told(), running(server, key, settings_of()) as client:
        typer.echo(json.dumps(client.get(video_id), ensure_ascii=False, indent=2))


@calls.command()
def watch(video_id: VideoId, server: Server = None, key: Key = None) -> None:
    """Follow a video until it is finished; exit code 1 when it fails."""
    from rich.console import Console

    from app.generate import FAILED
    from app.generate import watch as follow
    from app.local import running

    with _faults_told(), running(server, key, settings_of()) as client:
        video = follow(client, client.get(video_id), Console(stderr=True, highlight=False))
    typer.echo(_line(video))
    sys.exit(FAILED if video["status"] == "failed" else 0)


@calls.command()
def download(
    video_id: VideoId,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Default: ID.mp4 here.")
    ] = None,
    server: Server = None,
    key: Key = None,
) -> None:
    """Store a finished video in a file."""
    from app.local import running

    target = output or Path(f"{video_id}.mp4")
    with _faults_told(), running(server, key, settings_of()) as client:
        client.download(video_id, target)
    typer.echo(target)


@calls.command()
def cancel(video_id: VideoId, server: Server = None, key: Key = None) -> None:
    """Stop a video that is queued or being made."""
    from app.local import running

    with _faults_told(), running(server, key, settings_of()) as client:
        typer.echo(_line(client.cancel(video_id)))


@calls.command()
def delete(video_id: VideoId, server: Server = None, key: Key = None) -> None:
    """Delete a video; one that is being made is cancelled first."""
    from app.local import running

    with _faults_told(), running(server, key, settings_of()) as client:
        client.delete(video_id)


@contextmanager
def _faults_told() -> Generator[None]:
    """Errors as one sentence and an exit code: 2 refused or impossible, 3 no server."""
    from app.client import ServerError
    from app.generate import REFUSED, UNREACHABLE
    from app.local import StartError

    try:
        yield
    except ServerError as error:
        fail(str(error), REFUSED if 400 <= error.status < 500 else UNREACHABLE)
    except StartError as error:
        fail(str(error), UNREACHABLE)
    except OSError as error:
        fail(str(error), REFUSED)


def _line(video: dict[str, Any]) -> str:
    """A video in one line, tabs between its values."""
    state = video["error"]["code"] if video["error"] else f"{video['progress']} %"
    prompt = " ".join(video["prompt"].split())[:60]
    return "\t".join((video["id"], video["status"], state, video["size"], prompt))
