"""Finds the line of the configuration that a finding is about, as a compiler would. Pure."""

import re
from dataclasses import replace

from walsync.check.finding import Finding, Severity
from walsync.config import Config
from walsync.config_file import Document, KeyPath

_PARTS = {"source": ("source",), "configuration": ("http",)}


def locate(finding: Finding, config: Config, document: Document) -> Finding:
    """Add the place, such as ``walsync.yaml:7: source.tables[1]``, to what is not as it should be."""
    if finding.severity is Severity.OK:
        return finding
    return replace(finding, place=document.where(_key(finding, config)))


def _key(finding: Finding, config: Config) -> KeyPath:
    for index, target in enumerate(config.targets):
        if finding.where == f"target {target.name}":
            return ("targets", index)
    key: KeyPath = _PARTS.get(finding.where, ())
    if finding.where == "source":
        for index, entry in enumerate(config.source.tables):
            if re.search(rf"(?<!\S){re.escape(entry.table)}(?![\w.])", finding.message):
                return (*key, "tables", index)
    return key
