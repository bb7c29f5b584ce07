"""``walsync demo``: replicates between two servers of its own, dies on the way, and proves that all rows are equal."""

import click

from walsync.demo.demo import Demo, Options

_DIFFERENT = 4


@click.command()
@click.option(
    "--seconds", type=click.FloatRange(0), default=Options.seconds, show_default=True, help="How long to write."
)
@click.option(
    "--rate",
    type=click.FloatRange(0),
    default=Options.rate,
    show_default=True,
    help="Transactions per second; 0: as fast as it goes.",
)
@click.option(
    "--seed", type=int, default=Options.seed, show_default=True, help="What the random workload is made from."
)
def demo(seconds: float, rate: float, seed: int) -> int:
    """Replicate between two embedded servers, which leave nothing behind.

    Ends with 0 only when every row of every table is equal.
    """
    with Demo(Options(seconds, rate, seed)) as show:
        return 0 if show.run() else _DIFFERENT
