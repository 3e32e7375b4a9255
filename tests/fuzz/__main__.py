"""`python -m tests.fuzz --seconds 600 [--keep] NAME...`: fuzz by hand; without a name, every target.

A finding is written to the corpus, where it is a test that fails until it is mended. `--keep` adds
inputs of a new behaviour to the corpus, too.
"""

from __future__ import annotations

import random
import sys
import traceback
from hashlib import sha256

import click

from tests.fuzz.engine import fuzz
from tests.fuzz.targets import CORPUS, TARGETS, corpus_of

_MOST_KEPT_BYTES = 1024


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(sorted(TARGETS)))
@click.option("--seconds", default=60.0, help="For each target.")
@click.option("--seed", default=None, type=int, help="By default another one each time.")
@click.option("--keep", is_flag=True, help="Add inputs of a new behaviour to the corpus.")
def main(names: tuple[str, ...], seconds: float, seed: int | None, keep: bool) -> None:
    found = 0
    for name in names or sorted(TARGETS):
        used = random.SystemRandom().randrange(1 << 32) if seed is None else seed
        run = fuzz(TARGETS[name], corpus_of(name).values(), seconds=seconds, seed=used)
        click.echo(f"{name}: {run.rounds} inputs, {run.behaviours} behaviours, seed {used}")
        if keep:
            for data in run.kept:
                if len(data) <= _MOST_KEPT_BYTES:
                    _write(name, "kept", data)
        if run.finding is not None:
            found += 1
            traceback.print_exception(run.finding.error)
            click.echo(
                f"{name}: {run.finding.data!r}\nkept as {_write(name, 'crash', run.finding.data)}"
            )
    sys.exit(1 if found else 0)


def _write(name: str, why: str, data: bytes) -> str:
    path = CORPUS / name / f"{why}-{sha256(data).hexdigest()[:12]}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return str(path)


if __name__ == "__main__":
    main()
