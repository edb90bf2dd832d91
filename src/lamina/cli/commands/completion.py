"""``lamina completion``: a shell's completion script."""

from __future__ import annotations

import sys

import click

from lamina.cli.exit_codes import ExitCode
from lamina.cli.shell import Command, Shell, is_terminal, pass_shell

__all__ = ["command"]

_PLACES = {
    "bash": 'eval "$(lamina completion bash)"   in ~/.bashrc',
    "zsh": 'eval "$(lamina completion zsh)"   in ~/.zshrc, after compinit',
    "fish": "lamina completion fish > ~/.config/fish/completions/lamina.fish",
}


@click.command("completion", cls=Command)
@click.argument("shell_name", metavar="bash|zsh|fish", type=click.Choice(["bash", "zsh", "fish"]))
@pass_shell
def command(shell: Shell, shell_name: str) -> ExitCode:
    """Print the script that makes a shell complete commands, options and their values.

    \b
      bash   eval "$(lamina completion bash)"            in ~/.bashrc
      zsh    eval "$(lamina completion zsh)"             in ~/.zshrc, after compinit
      fish   lamina completion fish > ~/.config/fish/completions/lamina.fish
    """  # noqa: D301 - click wants the character itself
    from click.shell_completion import get_completion_class

    root = click.get_current_context().find_root().command
    kind = get_completion_class(shell_name)
    assert kind is not None
    script = kind(root, {}, "lamina", "_LAMINA_COMPLETE").source()
    shell.emit({"shell": shell_name, "script": script}, lambda: [script])
    if not shell.json and is_terminal(sys.stdout):
        shell.say(shell.err.dim(f"To use it: {_PLACES[shell_name]}"))
    return ExitCode.OK
