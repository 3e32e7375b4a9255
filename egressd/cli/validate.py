"""`egressd validate`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from egressd.api.counted import counted
from egressd.api.resource import Problem, Severity
from egressd.cli.ignore_kinds import ignore_kinds_option
from egressd.cli.node_access import read_files
from egressd.cli.options import BOOTSTRAP_VARIABLE, output_option
from egressd.cli.output import echo, print_json, print_problems
from egressd.cli.registry_access import find_surroundings, registry_options
from egressd.node.bootstrap import BootstrapError, load_bootstrap
from egressd.node.file_modes import Reader, check_bootstrap_file, check_files, check_keys
from egressd.node.source_checks import check_sources


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(exists=True, readable=False, path_type=Path))
@ignore_kinds_option
@click.option(
    "--bootstrap",
    "bootstraps",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="Also check a bootstrap file.",
)
@registry_options
@output_option
def validate(
    paths: tuple[Path, ...],
    bootstraps: tuple[Path, ...],
    registry: Path | None,
    offline: bool,
    output: str,
) -> None:
    """Check resources in files and directories, alone and together, and whether what they lead to is
    there: in them or in the node's registry.

    All errors are shown at once. Exit status 1 when there is any error; warnings do not count.

    \b
    egressd validate resources/
    egressd validate -o json vs.yaml
    egressd validate --bootstrap /etc/egressd/egressd.yaml
    """
    if not paths and not bootstraps:
        raise click.UsageError("name at least one PATH or --bootstrap FILE")
    named = bootstraps[0] if bootstraps else _environment()
    around = find_surroundings(named, registry, offline=offline)
    resources, problems = read_files(list(paths), around.without(paths))
    problems += check_keys(resources, Reader.current())
    for file in bootstraps:
        problems += _bootstrap_problems(file)
    errors = sum(1 for problem in problems if problem.severity is Severity.ERROR)
    if output == "json":
        print_json({"resources": len(resources), "errors": errors, "problems": problems})
    else:
        print_problems(problems)
        warnings = counted(len(problems) - errors, "warning")
        echo(f"{counted(len(resources), 'resource')}, {counted(errors, 'error')}, {warnings}")
    sys.exit(1 if errors else 0)


def _environment() -> Path | None:
    """The node that the environment names, as for the other commands."""
    named = os.environ.get(BOOTSTRAP_VARIABLE)
    return Path(named) if named else None


def _bootstrap_problems(file: Path) -> list[Problem]:
    try:
        bootstrap = load_bootstrap(file, check_sources)
    except BootstrapError as error:
        return list(error.problems)
    reader = Reader.of_node(bootstrap)
    return [*check_bootstrap_file(str(file), bootstrap, reader), *check_files(bootstrap, reader)]
