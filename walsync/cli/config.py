"""``walsync config``: the configuration as it was understood, or the JSON Schema of the file."""

from pathlib import Path

import click
import orjson
import yaml

from walsync.cli.options import load, with_config
from walsync.config import Config


@click.command()
@with_config
@click.option("--json-schema", is_flag=True, help="Print the JSON Schema of the file instead; no file is read.")
def config(path: Path | None, *, json_schema: bool) -> None:
    """Print the configuration as understood, secrets masked."""
    if json_schema:
        click.echo(orjson.dumps(Config.model_json_schema(), option=orjson.OPT_INDENT_2).decode())
        return
    content = load(path).model_dump(mode="json", exclude_none=True)
    click.echo(yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100), nl=False)
