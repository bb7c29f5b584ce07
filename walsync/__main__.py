"""``python -m walsync``: the command line, where no script is installed."""

from walsync.cli.main import main

main()
