"""Groups that are also commands: `cista weights NAME` beside `cista weights get NAME`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperGroup

DEFAULT = "default"


class _WithDefault(TyperGroup):
    """Passes arguments that do not begin with the name of a sub-command to the command DEFAULT."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if DEFAULT in self.commands and (not args or args[0] not in (*self.commands, *ctx.help_option_names)):
            args = [DEFAULT, *args]
        return super().parse_args(ctx, args)


def command_group(
    help: str, default: Callable[..., None] | None = None, **commands: Callable[..., None]
) -> typer.Typer:
    """Return a group of commands by name; `default` is what the group does without one of them."""
    group = typer.Typer(cls=_WithDefault, help=help, no_args_is_help=default is None, rich_markup_mode=None)
    if default is not None:
        group.command(DEFAULT, hidden=True)(default)
    for name, command in commands.items():
        group.command(name)(command)
    return group
