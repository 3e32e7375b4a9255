"""`egressd validate`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from egressd.api.resource import Problem, Severity
from egressd.cli.node_access import read_files
from egressd.cli.options import output_option
from egressd.cli.output import echo, print_json
from egressd.node.bootstrap import BootstrapError, load_bootstrap
from egressd.node.file_modes import Reader, check_bootstrap_file, check_files, check_keys
from egressd.node.source_checks import check_sources


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--bootstrap",
    "bootstraps",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="Also check a bootstrap file.",
)
@output_option
def validate(paths: tuple[Path, ...], bootstraps: tuple[Path, ...], output: str) -> None:
    """Check resources in files and directories, alone and together.

    All errors are shown at once. Exit status 1 when there is any error; warnings do not count.

    \b
    egressd validate resources/
    egressd validate -o json vs.yaml
    egressd validate --bootstrap /etc/egressd/egressd.yaml
    """
    if not paths and not bootstraps:
        raise click.UsageError("name at least one PATH or --bootstrap FILE")
    resources, problems = read_files(list(paths))
    problems += check_keys(resources, Reader.current())
    for file in bootstraps:
        problems += _bootstrap_problems(file)
    errors = sum(1 for problem in problems if problem.severity is Severity.ERROR)
    if output == "json":
        print_json({"resources": len(resources), "errors": errors, "problems": problems})
    else:
        for problem in problems:
            echo(str(problem))
        echo(f"{len(resources)} resources, {errors} errors, {len(problems) - errors} warnings")
    sys.exit(1 if errors else 0)


def _bootstrap_problems(file: Path) -> list[Problem]:
    try:
        bootstrap = load_bootstrap(file, check_sources)
    except BootstrapError as error:
        return list(error.problems)
    reader = Reader.current()
    return [*check_bootstrap_file(str(file), bootstrap, reader), *check_files(bootstrap, reader)]
