"""A guide, followed block by block as an operator does. The meaning of blocks:

- ```sh: Each line is a command that succeeds, or exits as a `# exit 1` after it says.
  `graph-memory` runs in this process, everything else in bash, each line by itself.
  `export NAME=value` holds for the rest of the page.
- ```sql: One script, run as the role of DATABASE_URL. It prints the rows of its last result.
- ```python: A program.
- ```dotenv: Settings, in force from here on. If a value contains …, only its name is checked.
- ```text after one of these: Lines that its last command prints, in this order, among others.
  … stands for any text. An sql script may fail only if this block begins with ERROR:.
- `# Not tested: why` after a line, or as the first line of a block, skips it.
- $NAME is a variable of tests/support/guide_variables.py, or one that the page exports.
"""

import contextlib
import io
import os
import re
import subprocess
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import product, zip_longest
from pathlib import Path
from typing import Any

import psycopg
from dotenv import dotenv_values
from typer.core import TyperGroup
from typer.main import get_command

from graphs.cli.main import app
from graphs.deployment.settings import Settings
from tests.support.markdown import Block, blocks, prose
from tests.support.operator import Operator

NOT_TESTED = re.compile(r"(?:^|\s)(?:#|--) Not tested: \S")
SHOWN_ONLY = {"ini", "json", "mermaid", "yaml"}

_EXIT = re.compile(r"\s# exit (\d+)\b")
_COMMENT = re.compile(r"(?:^|\s)#(?= ).*$")
_VARIABLE = re.compile(r"\$\{?([A-Z][A-Z0-9_]*)\b(?!:-)\}?")
_OURS = re.compile(r"((?:[A-Z][A-Z0-9_]*=\S*\s+)*)(graph-memory\b.*)")
_HIDDEN = re.compile(r"[;&|(`]\s*graph-memory\b")
_FRAME = re.compile(r"[\u2500-\u257f\s]+")
_OUTSIDE_SETTINGS = {"MEM0_TELEMETRY"}


class Guide:
    """A page, and the deployment on which it is followed.

    Args:
        operate: Calls `graph-memory`.
        folder: The working directory.
        variables: The values of $NAME.
    """

    def __init__(self, operate: Operator, folder: Path, variables: dict[str, str]) -> None:
        self._operate = operate
        self._folder = folder
        self._variables = variables
        self._printed: str | None = None
        self._left_out = False

    def follow(self, page: str) -> None:
        """Follow the steps of a page.

        Raises:
            AssertionError: If a result differs from the page; the message names the line.
        """
        self._operate.set(COLUMNS="240", **self._variables)
        found = blocks(page)
        for block, following in zip_longest(found, found[1:]):
            try:
                self._do(block)
                if block.language == "sql" and not (
                    following and following.text.startswith("ERROR:")
                ):
                    assert not (self._printed or "").startswith("ERROR:"), self._printed
            except AssertionError as error:
                raise AssertionError(
                    f"The block at line {block.line}:\n{block.text}\n{error}"
                ) from error

    def _do(self, block: Block) -> None:
        if block.language == "text":
            self._compare(block.text)
            return
        self._printed, self._left_out = None, bool(NOT_TESTED.search(block.text))
        if block.language in SHOWN_ONLY or NOT_TESTED.match(block.text):
            return
        match block.language:
            case "sh":
                for line in commands(block.text):
                    self._printed = self._run(line)
            case "sql":
                self._printed = self._query(self._expanded(block.text))
            case "python":
                self._printed = self._execute(block.text)
            case "dotenv":
                self._set(self._expanded(block.text))
            case other:
                raise AssertionError(
                    f"A block of {other!r} cannot be run: use sh, sql, python, dotenv or text."
                )

    def _run(self, line: str) -> str:
        expected = int(found[1]) if (found := _EXIT.search(line)) else 0
        command = _COMMENT.sub("", line).strip()
        if exported := re.match(r"export ([A-Z][A-Z0-9_]*)=(.*)", command):
            self._keep(exported[1], self._bash(f"printf %s {exported[2]}", 0))
            return ""
        assert not _HIDDEN.search(command), (
            "graph-memory must be at the start of its line: it cannot run inside bash."
        )
        if ours := _OURS.fullmatch(command):
            return self._graph_memory(ours[1], *_cut(ours[2]), expected)
        self._expanded(command)
        return self._bash(command, expected)

    def _graph_memory(self, given: str, words: str, led: str, expected: int) -> str:
        """Run the command here, and its redirection or pipe in bash, which also splits the line."""
        self._expanded(words)
        arguments = self._bash(f"printf '%s\\0' {words.removeprefix('graph-memory')}", 0).split(
            "\0"
        )[:-1]
        before = {name: os.environ.get(name) for name in re.findall(r"([A-Z][A-Z0-9_]*)=", given)}
        for name in before:
            self._operate.set(**{name: self._bash(f"{given} printenv {name}", 0).strip()})
        result = self._operate(*(arguments if words != "graph-memory" else []))
        self._operate.set(**{name: value or "" for name, value in before.items()})
        assert result.exit_code == expected, (
            f"{words}\nended with {result.exit_code}:\n{result.output}"
        )
        assert isinstance(result.exception, SystemExit | None), (
            f"{words}\nraised {result.exception!r}"
        )
        return self._bash(f"cat {led}", 0, result.stdout) if led else str(result.output)

    def _bash(self, command: str, expected: int, given: str | None = None) -> str:
        ran = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],  # noqa: S607  any bash will do
            cwd=self._folder,
            input=given,
            capture_output=True,
            text=True,
            timeout=60,
            env=os.environ | self._variables,
        )
        assert ran.returncode == expected, (
            f"{command}\nended with {ran.returncode}:\n{ran.stdout}{ran.stderr}"
        )
        return ran.stdout + ("" if given is not None else ran.stderr)

    def _query(self, script: str) -> str:
        try:
            with contextlib.closing(
                psycopg.connect(self._variables["DATABASE_URL"], autocommit=True)
            ) as conn:
                cursor = conn.execute(script.encode())
                rows = cursor.fetchall() if cursor.description else []
                while cursor.nextset():
                    rows = cursor.fetchall() if cursor.description else rows
        except psycopg.Error as error:
            return f"ERROR:  {error.diag.message_primary or error}"
        return "\n".join(
            " | ".join("" if cell is None else str(cell) for cell in row) for row in rows
        )

    def _execute(self, program: str) -> str:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(program, "guide", "exec"), {"__name__": "__main__"})
        return printed.getvalue()

    def _set(self, settings: str) -> None:
        for name, value in dotenv_values(stream=io.StringIO(settings)).items():
            assert name.lower() in Settings.model_fields or name in _OUTSIDE_SETTINGS, (
                f"There is no setting {name}."
            )
            if value is not None and "…" not in value:
                self._keep(name, value)

    def _keep(self, name: str, value: str) -> None:
        self._variables[name] = value
        self._operate.set(**{name: value})

    def _expanded(self, text: str) -> str:
        """Return the text with its variables replaced; each must be defined."""
        missing = [name for name in _VARIABLE.findall(text) if name not in self._variables]
        assert not missing, f"${missing[0]} is not defined."
        return _VARIABLE.sub(lambda found: self._variables[found[1]], text)

    def _compare(self, promised: str) -> None:
        if self._printed is None:
            assert self._left_out, "No block before this one printed: move it after its command."
            return
        left = _plain(self._printed)
        for line in filter(None, map(_plain, promised.splitlines())):
            pattern = ".*?".join(
                re.escape(part.strip()) for part in self._expanded(line).split("…")
            )
            found = re.search(pattern, left)
            assert found, (
                f"The output has no such line (after the lines above it): {line}\n"
                f"The output is:\n{self._printed}"
            )
            left = left[found.end() :]


def _plain(printed: str) -> str:
    """Return the output without the frames of tables, on one line."""
    return _FRAME.sub(" ", printed).strip()


def commands(block: str) -> Iterator[str]:
    """Yield the commands of an sh block that are not skipped."""
    for line in re.sub(r"\\\n\s*", "", block).splitlines():
        if line.strip() and not line.lstrip().startswith("#") and not NOT_TESTED.search(line):
            yield line.strip()


def _cut(command: str) -> tuple[str, str]:
    """Split a command from its redirection or pipe (`> FILE`, `| …`)."""
    quote = ""
    for n, char in enumerate(command):
        if char in "'\"":
            quote = "" if quote == char else quote or char
        elif char in "|>" and not quote:
            return command[:n].strip(), command[n:]
    return command.strip(), ""


def unknown_commands(page: str) -> list[str]:
    """Return each `graph-memory …` in a page's prose with an unknown command or option."""
    said = [each.replace("\n", " ") for each in re.findall(r"`(graph-memory [^`]+)`", prose(page))]
    return [
        each
        for each in said
        if not all(map(_known, product(*(word.split("|") for word in each.split()[1:]))))
    ]


@cache
def _app() -> Any:
    return get_command(app)


def _known(words: Iterable[str]) -> bool:
    command = _app()
    for word in words:
        if word.startswith("--"):
            if word.split("=")[0] not in {
                "--help",
                *(name for each in command.params for name in each.opts),
            }:
                return False
        elif isinstance(command, TyperGroup):
            if word not in command.commands:
                return command.invoke_without_command
            command = command.commands[word]
    return True
