"""docker/Dockerfile as a list of instructions: what can be held to it, and run of it, where there is no engine."""

import re
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
DOCKERFILE = REPOSITORY / "docker" / "Dockerfile"
COMPOSE = REPOSITORY / "docker" / "compose.yaml"

KEYWORDS = frozenset(
    {"ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "RUN", "STOPSIGNAL", "USER", "VOLUME"}
    | {"WORKDIR"}
)
"""Those that have a place in ours."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction, its lines joined; `stage` counts from 0, and is -1 before the first FROM."""

    keyword: str
    text: str
    stage: int


def instructions() -> list[Instruction]:
    """Read the file; fails on a line that is no instruction."""
    lines = [line for line in DOCKERFILE.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    found: list[Instruction] = []
    stage = -1
    for line in filter(None, joined.splitlines()):
        keyword, _, text = line.partition(" ")
        assert keyword in KEYWORDS, line
        stage += keyword == "FROM"
        found.append(Instruction(keyword, text, stage))
    return found
