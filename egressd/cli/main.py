"""The `egressd` command."""

from __future__ import annotations

import importlib
import sys
import traceback

import click
from click.shell_completion import CompletionItem

import egressd
from egressd.api.secret import redact
from egressd.cli.command_group import CommandGroup, fitting

COMMANDS = {
    "run": ("egressd.cli.run", "run", "Run a node: supervisor, registry process, workers."),
    "validate": ("egressd.cli.validate", "validate", "Check files; all errors at once."),
    "registry": ("egressd.cli.registry", "registry", "Look into the shared registry."),
    "analyze": ("egressd.cli.analyze", "analyze", "What resources do to each other."),
    "routes": ("egressd.cli.routes", "routes", "Print the route table of a host."),
    "explain": ("egressd.cli.explain", "explain", "Why a request goes where it goes."),
    "status": ("egressd.cli.status", "status", "The running node at a glance."),
    "upgrade": ("egressd.cli.upgrade", "upgrade", "Let the installed program take over."),
    "apply": ("egressd.cli.apply", "apply", "Write resources for all nodes of the fleet."),
    "get": ("egressd.cli.get", "get", "The fleet's resources."),
    "diff": ("egressd.cli.apply", "diff", "What apply would change."),
    "delete": ("egressd.cli.apply", "delete", "Delete resources from the fleet."),
    "rollback": ("egressd.cli.fleet", "rollback", "Restore an earlier version of the fleet."),
    "fleet": ("egressd.cli.fleet", "fleet_group", "Which nodes run which version."),
    "register": ("egressd.cli.register", "register", "Keep this machine's services registered."),
    "deregister": ("egressd.cli.register", "deregister", "Take them out of a registry."),
    "reload": (
        "egressd.cli.reload",
        "reload",
        "Read the configuration again; wait for the outcome.",
    ),
    "install": ("egressd.cli.install", "install", "Make it a service of this machine."),
    "uninstall": ("egressd.cli.install", "uninstall", "Take away what install laid."),
    "completion": ("egressd.cli.completion", "completion", "Completion for bash, zsh and fish."),
    "demo": ("egressd.cli.demo", "demo", "A real node on loopback, to look at."),
}

_SAID_BEFORE = "Error: "  # by click
_CANNOT_LOAD = 70  # EX_SOFTWARE of sysexits.h


class LazyGroup(CommandGroup):
    """Loads a command's module when it is used: `egressd status` need not import the data plane."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS, "version"]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return super().get_command(ctx, cmd_name)
        module, name, _ = COMMANDS[cmd_name]
        try:
            command: click.Command = getattr(importlib.import_module(module), name)
        except (ImportError, OSError, MemoryError):
            traceback.print_exc()
            sys.exit(_CANNOT_LOAD)  # not 1: that says that what was asked for is wrong
        return fitting(command)

    def invoke(self, ctx: click.Context) -> object:
        """Whatever a command complains of is shown without the secrets of URLs."""
        try:
            return super().invoke(ctx)
        except click.ClickException as error:
            from egressd.cli.output import folded  # not loaded for `--help`

            said = folded(f"{_SAID_BEFORE}{redact(error.message)}", err=True)
            vars(error)["message"] = said.removeprefix(_SAID_BEFORE)  # click calls it final
            raise

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Without loading what is not used, as click would: a key press must not take a second."""
        if not incomplete or incomplete[0].isalnum():
            texts = {name: text for name, (_, _, text) in COMMANDS.items()}
            return [
                CompletionItem(name, help=texts.get(name, "Print the version."))
                for name in self.list_commands(ctx)
                if name.startswith(incomplete)
            ]
        return super().shell_complete(ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, text) for name, (_, _, text) in COMMANDS.items()]
        rows.append(("version", "Print the version."))
        with formatter.section("Commands"):
            formatter.write_dl(rows)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(egressd.__version__, prog_name="egressd")
def main() -> None:
    """Egress gateway and service-registry node for plain VMs.

    Exit status: 0 all is well, 1 what was asked for is wrong or not there, 2 wrong usage.
    """


@main.command()
def version() -> None:
    """Print the version."""
    click.echo(egressd.__version__)


if __name__ == "__main__":
    main(prog_name="egressd")
