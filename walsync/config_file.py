"""Finds and reads the YAML file: plain text values with variables filled in, the line of every key, and no surprises.

Every scalar stays text (so `no`, `012` and `1e3` are what they look like; the settings' types parse them), except an
empty one, `~` and `null`. Variables are replaced after parsing, in values only: a value cannot change the structure.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

import yaml

from walsync.errors import ConfigurationError

KeyPath: TypeAlias = tuple[str | int, ...]

PLACES: Final = ("/config/walsync.yaml", "./conf/walsync.yaml", "./walsync.yaml")
"""Where the file is looked for, in this order, when neither -c nor $WALSYNC_CONFIG names it."""

ENVIRONMENT_VARIABLE: Final = "WALSYNC_CONFIG"

_VARIABLE: Final = re.compile(r"\$\$\{|\$\{([^}]*)(\})?")
_CONTENT: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(:-([^{}]*))?")
_TEXT: Final = "tag:yaml.org,2002:str"
_NULL: Final = "tag:yaml.org,2002:null"
_MERGE: Final = "tag:yaml.org,2002:merge"
_TAGS: Final = {_TEXT, _NULL, _MERGE, "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}
_QUOTED: Final = re.compile(r"'[^']*'")
_QUOTED_SAFE: Final = re.compile(r"'(?:.|<[a-z ]+>)'")  # one character, or the name of one of YAML's own tokens


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with the file; `where` is ``file:line: key.path``, as far as known.

    `variable` is the environment variable that is not set, where nothing else is wrong.
    """

    code: str
    where: str
    message: str
    hint: str
    variable: str = ""


class InvalidConfiguration(ConfigurationError):
    """The file is wrong, in all of these places at once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        first, more = problems[0], len(problems) - 1
        text = f"{first.where}: {first.message}" + (f" (and {more} more)" if more else "")
        super().__init__(first.code, text, hint=first.hint)
        self.problems = tuple(problems)


@dataclass
class Document:
    """A file's content as plain dicts, lists, texts and None, with the line of each key path."""

    path: Path
    content: Any = None
    lines: dict[KeyPath, int] = field(default_factory=dict)

    def line(self, key_path: KeyPath) -> int:
        """Find the line of a key, or of the nearest key around it that is written there; 0 for none."""
        ends = range(len(key_path), 0, -1)
        return next((self.lines[key_path[:end]] for end in ends if key_path[:end] in self.lines), 0)

    def where(self, key_path: KeyPath) -> str:
        """Write a place for people: ``walsync.yaml:12: targets[1].dns``."""
        line = self.line(key_path)
        place = f"{self.path}:{line}" if line else str(self.path)
        return f"{place}: {dotted(key_path)}" if key_path else place


def dotted(key_path: KeyPath) -> str:
    """Write a path of keys: ``("targets", 1, "dns")`` is ``targets[1].dns``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in key_path).removeprefix(".")


def find(path: Path | None, environ: Mapping[str, str]) -> Path:
    """Choose the file: `path` (-c), then $WALSYNC_CONFIG, then the first of `PLACES` that is there."""
    if path is not None:
        return path
    if named := environ.get(ENVIRONMENT_VARIABLE):
        return Path(named)
    for place in PLACES:
        if Path(place).is_file():
            return Path(place)
    looked = ", ".join(("-c FILE", f"${ENVIRONMENT_VARIABLE}", *PLACES))
    problem = Problem("WS1001", "configuration", f"no file found; looked at {looked}", "name one with -c FILE")
    raise InvalidConfiguration([problem])


def read(path: Path, environ: Mapping[str, str]) -> Document:
    """Read a file; raises InvalidConfiguration with everything that is wrong before any key is looked at."""
    document = Document(path)
    root = _compose(path, _read_text(path))
    problems = list(_Walk(document, environ).check(root, ()))
    if not isinstance(root, yaml.MappingNode):
        problems.append(
            Problem("WS1004", str(path), "the file holds no keys", "start from conf/walsync.yaml, which explains each")
        )
    if problems:
        raise InvalidConfiguration(problems)
    try:
        document.content = _Loader("").construct_document(root)
    except yaml.YAMLError as error:
        raise InvalidConfiguration([_yaml_problem(path, error)]) from None
    return document


def outline(path: Path) -> Document:
    """Note the lines of a file's keys and nothing else, whatever its variables are."""
    document = Document(path)
    for _ in _Walk(document, {}).check(_compose(path, _read_text(path)), ()):
        pass  # its problems have been told
    return document


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        problem = Problem(
            "WS1002",
            str(path),
            f"cannot be read: {error.strerror}",
            "name a file that can be read, with -c or $WALSYNC_CONFIG",
        )
    except UnicodeDecodeError:
        problem = Problem("WS1002", str(path), "is not UTF-8 text", "save the file as UTF-8")
    raise InvalidConfiguration([problem])


class _Loader(yaml.SafeLoader):
    """YAML without guessing: a plain scalar is text, unless it is `null` or the merge key ``<<``."""


_Loader.yaml_implicit_resolvers = {
    first: kept
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    if (kept := [(tag, pattern) for tag, pattern in resolvers if tag in {_NULL, _MERGE}])
}


def _compose(path: Path, text: str) -> yaml.Node | None:
    try:
        node: yaml.Node | None = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise InvalidConfiguration([_yaml_problem(path, error)]) from None
    except RecursionError:
        raise InvalidConfiguration(
            [Problem("WS1003", str(path), "nested too deeply", "see conf/walsync.yaml")]
        ) from None
    return node


def _yaml_problem(path: Path, error: yaml.YAMLError) -> Problem:
    """Name the place and the cause; quoted parts of the file are left out, since one may be a password."""
    mark = getattr(error, "problem_mark", None)
    where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark is not None else str(path)
    cause = getattr(error, "problem", None) or "a character that YAML does not allow"
    cause = _QUOTED.sub(lambda quoted: quoted[0] if _QUOTED_SAFE.fullmatch(quoted[0]) else "(left out)", cause)
    hint = (
        "look at indentation and colons there; quote a value that has one of * & ! % @ { } [ ] in it, such as ${NAME}"
    )
    return Problem("WS1003", where, f"not YAML: {cause}", hint)


class _Walk:
    """Goes through the nodes once: notes lines, fills in variables, and tells what no reader could make sense of."""

    def __init__(self, document: Document, environ: Mapping[str, str]) -> None:
        self._document = document
        self._environ = environ
        self._seen: set[int] = set()

    def check(self, node: yaml.Node | None, at: KeyPath) -> Iterator[Problem]:
        """Visit a node and what is in it; an aliased one only where it stands first."""
        if node is None or id(node) in self._seen:
            return
        self._seen.add(id(node))
        self._document.lines.setdefault(at, node.start_mark.line + 1)
        if node.tag not in _TAGS:
            hint = "quote a value that begins with an exclamation mark"
            yield Problem("WS1003", self._document.where(at), "YAML tags (!name) mean nothing here", hint)
        elif isinstance(node, yaml.MappingNode):
            yield from self._check_keys(node, at)
        elif isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                yield from self.check(item, (*at, index))
        elif isinstance(node, yaml.ScalarNode) and "${" in node.value:
            yield from self._substitute(node, at)

    def _check_keys(self, node: yaml.MappingNode, at: KeyPath) -> Iterator[Problem]:
        lines: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode) or key.tag not in {_TEXT, _NULL, _MERGE}:
                yield Problem(
                    "WS1003", f"{self._document.path}:{line}", "a key that is not a word", "see conf/walsync.yaml"
                )
                continue
            inner = at if key.tag == _MERGE else (*at, key.value)
            if key.value in lines:
                message = f"the key stands twice (first in line {lines[key.value]})"
                where = f"{self._document.path}:{line}: {dotted(inner)}"
                yield Problem("WS1005", where, message, "keep one of them: YAML would drop the other in silence")
            lines.setdefault(key.value, line)
            self._document.lines.setdefault(inner, line)
            yield from self.check(value, inner)

    def _substitute(self, node: yaml.ScalarNode, at: KeyPath) -> Iterator[Problem]:
        problems: list[Problem] = []

        def replace(match: re.Match[str]) -> str:
            if match[0] == "$${":
                return "${"
            content = _CONTENT.fullmatch(match[1]) if match[2] else None
            if content is None:
                hint = "write ${NAME} or ${NAME:-default}; $${ stands for a literal ${"
                problems.append(Problem("WS1007", self._document.where(at), "a ${ that is no variable", hint))
                return ""
            value = self._environ.get(content[1], "")
            if value or (content[2] is None and content[1] in self._environ):
                return value
            if content[2] is None:
                hint = f"set it, or give a default: ${{{content[1]}:-}}"
                message = f"the environment variable {content[1]} is not set"
                problems.append(Problem("WS1006", self._document.where(at), message, hint, content[1]))
            return content[3] or ""

        node.value = _VARIABLE.sub(replace, node.value)
        yield from problems
