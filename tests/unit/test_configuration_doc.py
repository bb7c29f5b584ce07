"""docs/configuration.md says what the settings say."""

import runpy
from pathlib import Path

from walsync.target.registry import KINDS

DOCS = Path(__file__).parents[2] / "docs"
DOCUMENT = (DOCS / "configuration.md").read_text(encoding="utf-8")


def test_the_reference_is_the_one_that_the_settings_yield() -> None:
    assert runpy.run_path(str(DOCS / "configuration.py"))["document"]() == DOCUMENT, "type `make fix`"


def test_every_kind_of_target_has_its_section() -> None:
    for kind in KINDS:
        assert f"\n### targets[] of type {kind}\n" in DOCUMENT
