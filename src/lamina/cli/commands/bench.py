"""``lamina bench``: measure this machine and this version."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from lamina.bench import BENCHMARKS, BenchOption
from lamina.cli.exit_codes import ExitCode
from lamina.cli.progress import progress
from lamina.cli.shell import Command, Group, Shell, pass_shell

__all__ = ["command"]

_TYPES = {int: click.IntRange(1), float: click.FLOAT, str: click.STRING}


class Benchmarks(Group):
    """The benchmarks as commands, each made from its module's ``OPTIONS`` when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Their names."""
        return list(BENCHMARKS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Loads one."""
        if cmd_name not in BENCHMARKS:
            return None
        module = import_module(f"lamina.bench.{cmd_name}")

        @pass_shell
        def measure(shell: Shell, /, **options: Any) -> ExitCode:
            with progress(f"measuring {cmd_name}"):
                result: dict[str, Any] = module.run(**options)
            shell.emit(result, lambda: module.summary(result))
            return ExitCode.OK

        return Command(
            cmd_name,
            callback=measure,
            params=[_option(option) for option in module.OPTIONS],
            help=(module.__doc__ or "").replace("``", "").replace(":data:", ""),
            short_help=BENCHMARKS[cmd_name],
        )

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Writes the table; no benchmark is imported for it."""
        with formatter.section("Benchmarks"):
            formatter.write_dl(list(BENCHMARKS.items()))


def _option(option: BenchOption) -> click.Option:
    # An explicit default, even None, would count as a value that was given.
    default = (
        {} if option.required or option.default in (None, ()) else {"default": option.default, "show_default": True}
    )
    return click.Option(
        [f"--{option.name.replace('_', '-')}"],
        type=_TYPES[option.type],
        required=option.required,
        multiple=option.multiple,
        help=option.help,
        **default,
    )


command = Benchmarks(
    name="bench",
    help="Measure this machine and this version, in a temporary folder; your store is not touched.",
    subcommand_metavar="NAME [OPTIONS]",
)
