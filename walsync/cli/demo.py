"""``walsync demo``: replicates into five targets of its own, dies on the way, and proves that all rows are equal."""

import click

from walsync.demo.demo import Options, run

_DIFFERENT = 4


@click.command()
@click.option(
    "--seconds",
    type=click.FloatRange(0),
    default=Options.seconds,
    show_default=True,
    help="How long to write; the SIGKILL and the outage take five at least.",
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
@click.option("--keep", is_flag=True, help="Leave everything running until Ctrl-C, and say how to play with it.")
@click.option("--workerd", is_flag=True, help="Six D1 databases on workerd, behind the gateway Worker; needs Node 20.")
def demo(seconds: float, rate: float, seed: int, *, keep: bool, workerd: bool) -> int:
    """Replicate into five targets, through a crash and an outage, and compare every value.

    From Postgres 18 into Postgres 16, three D1 files and SurrealDB, all embedded; they leave nothing behind. Ends with
    0 only when every row of every table is equal in all five, with 4 when one is not.
    """
    return 0 if run(Options(seconds, rate, seed, keep, workerd)) else _DIFFERENT
