"""Options that several commands share, and what they mean."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from app.contract.settings import Settings

Data = Annotated[Path | None, typer.Option(help="Folder for everything the service keeps.")]
Host = Annotated[str | None, typer.Option(help="Address to listen on.")]
Port = Annotated[int | None, typer.Option(min=1, max=65535, help="Port to listen on.")]
Checkpoints = Annotated[
    list[Path] | None,
    typer.Option(
        "--checkpoint",
        envvar="KINORA_CHECKPOINT",
        help="Folder of a checkpoint in the diffusers layout; may be repeated.",
    ),
]
Server = Annotated[
    str | None, typer.Option(envvar="KINORA_SERVER", help="Default: the one on this machine.")
]
Key = Annotated[
    str | None, typer.Option(envvar="KINORA_API_KEY", help="API key, if the server wants one.")
]


def settings_of(**given: Any) -> "Settings":
    """The environment's settings with the options given; ends the command when they are bad."""
    from app.contract.settings import Settings, SettingsError, variable

    options = {variable(name): str(value) for name, value in given.items() if value is not None}
    try:
        return Settings.from_env(os.environ | options)
    except SettingsError as error:
        fail(str(error))


def fail(message: str, code: int = 2) -> NoReturn:
    """End the command with a sentence on stderr."""
    typer.echo(f"kinora: {message}", err=True)
    sys.exit(code)
