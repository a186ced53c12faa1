"""The `kinora` command. What a command needs it imports itself, so that `--help` is quick."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from app.calls import calls
from app.options import Checkpoints, Data, Host, Port, fail, settings_of

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from app.contract.store import Store

app = typer.Typer(
    help="Make videos from text and images, on your own machine, behind OpenAI's Videos API.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
keys = typer.Typer(
    help="API keys: while there is none, only this machine may call.", no_args_is_help=True
)
app.add_typer(calls)
app.add_typer(keys, name="keys")


@app.command()
def serve(
    host: Host = None,
    port: Port = None,
    data: Data = None,
    checkpoint: Checkpoints = None,
    workers: Annotated[int, typer.Option(min=1, help="Workers for each checkpoint.")] = 1,
) -> None:
    """Run the whole service in the foreground: API, queue, workers, courier. Ctrl-C stops it."""
    from app import embedded

    settings = settings_of(host=host, port=port, data=data)
    sys.exit(embedded.serve(settings, tuple(checkpoint or ()), workers))


@app.command()
def api(host: Host = None, port: Port = None) -> None:
    """Run the HTTP API alone; database, Redis and storage come from KINORA_* variables."""
    _become("app.main", settings_of(host=host, port=port).to_env())


@app.command()
def worker(
    checkpoint: Annotated[
        Path | None, typer.Option(help="Folder of the checkpoint to serve.")
    ] = None,
) -> None:
    """Run one worker: one GPU, or the CPU, with one checkpoint."""
    _become("worker.gpu", {} if checkpoint is None else {"KINORA_CHECKPOINT": str(checkpoint)})


@app.command()
def courier() -> None:
    """Run the courier: it brings back the jobs of lost workers and cleans up."""
    _become("worker.courier", {})


@app.command()
def demo(
    prompt: Annotated[str, typer.Argument()] = "a red ball bounces on the grass, realistic",
    output: Annotated[Path, typer.Option("--output", "-o")] = Path("demo.mp4"),
    size: Annotated[str, typer.Option()] = "1920x1080",
) -> None:
    """Start a service of its own, make one clip over HTTP, and stop it again."""
    from app.demo import run

    sys.exit(run(prompt, output, size))


@app.command()
def doctor(
    host: Host = None, port: Port = None, data: Data = None, checkpoint: Checkpoints = None
) -> None:
    """Check every dependency; says what is wrong and how to mend it."""
    from rich.console import Console

    from app.doctor import examine

    console = Console(highlight=False)
    settings = settings_of(host=host, port=port, data=data)
    embedded = "KINORA_REDIS_URL" not in os.environ
    failed = 0
    for finding in examine(settings, tuple(checkpoint or ()), embedded=embedded):
        mark = "[green]ok  [/]" if finding.ok else "[red]FAIL[/]"
        console.print(mark, f"{finding.name}:", finding.said, soft_wrap=True)
        if not finding.ok:
            failed += 1
            console.print("     →", finding.mend, soft_wrap=True)
    console.print("all is well" if not failed else f"{failed} to mend")
    sys.exit(1 if failed else 0)


@keys.command("create")
def create_key(
    name: Annotated[str, typer.Argument(help="Whose key it is.")], data: Data = None
) -> None:
    """Make a key. Its secret is printed once and cannot be read again."""
    with _store(data) as store:
        made, secret = store.keys.create(name)
    print(f"{made.id}\t{made.name}", file=sys.stderr)
    print(secret)


@keys.command("list")
def list_keys(data: Data = None) -> None:
    """List all keys, revoked ones too."""
    from datetime import datetime

    with _store(data) as store:
        for key in store.keys.list():
            made = datetime.fromtimestamp(key.created_at).astimezone().isoformat(" ", "minutes")
            state = "revoked" if key.revoked_at else "valid"
            print(f"{key.id}\t{key.name}\t…{key.hint}\t{made}\t{state}")


@keys.command("revoke")
def revoke_key(
    key_id: Annotated[str, typer.Argument(help="As `keys list` shows it.")], data: Data = None
) -> None:
    """Make a key useless from now on."""
    from app.contract.keys import KeyNotFound

    with _store(data) as store:
        try:
            store.keys.revoke(key_id)
        except KeyNotFound as error:
            fail(str(error))
    print(f"{key_id} is revoked")


def _store(data: Path | None) -> "AbstractContextManager[Store]":
    """The database, brought to this version; closed at the end of the `with`."""
    from contextlib import closing

    from app.contract.store import Store
    from app.migrations.upgrade import upgrade

    settings = settings_of(data=data)
    upgrade(settings.database_url)
    return closing(Store.open(settings.database_url))


def _become(module: str, variables: dict[str, str]) -> NoReturn:
    """Replace this process by `python -m module`, so that signals reach it directly."""
    os.environ.update(variables)
    here = str(Path(__file__).resolve().parents[1])
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))
    os.execv(sys.executable, [sys.executable, "-m", module])  # noqa: S606  (no shell is the point)


def main() -> None:
    """The entry point of the `kinora` program."""
    app(prog_name="kinora")


if __name__ == "__main__":
    main()
