"""The `kinora` command. What a command needs it imports itself, so that `--help` is quick."""

import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from app.calls import calls
from app.keyring import keys
from app.options import Checkpoints, Data, Host, Port, settings_of

app = typer.Typer(
    help="Make videos from text and images, on your own machine, behind OpenAI's Videos API.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
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
    prompt: Annotated[str, typer.Argument()] = "a big yellow star moves right at night, cartoon",
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
    from rich.markup import escape

    from app.doctor import examine

    console = Console(highlight=False)
    settings = settings_of(host=host, port=port, data=data)
    embedded = "KINORA_REDIS_URL" not in os.environ
    failed = 0
    for finding in examine(settings, tuple(checkpoint or ()), embedded=embedded):
        mark = "[green]ok  [/]" if finding.ok else "[red]FAIL[/]"
        console.print(mark, f"{finding.name}:", escape(finding.said), soft_wrap=True)
        if not finding.ok:
            failed += 1
            console.print("     →", escape(finding.mend), soft_wrap=True)
    console.print("all is well" if not failed else f"{failed} to mend")
    sys.exit(1 if failed else 0)


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
