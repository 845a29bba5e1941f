"""A guide carried out, block by block, as an operator does who reads it. What a block means:

- ```sh: each line is a command, and ends well, or as `# exit 1` behind it says. `graph-memory` runs in this process,
  all else in bash, each line by itself. `export NAME=value` holds for the rest of the page.
- ```sql: one script, as the role of DATABASE_URL; the rows that were given last are what it prints.
- ```python: a program. ```dotenv: settings, in force from here on; of a value with … in it only the name is looked at.
- ```text after one of these: what its last command prints, these lines among others, in this order; … is anything. A
  script in sql may fail only where it begins with ERROR:.
- `# Not tested: why` behind a line, or as the first line of a block, leaves it out.
- $NAME is one of tests/support/guide_variables.py, or what the page exports.
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
    """A page, and the deployment that it is followed on.

    Args:
        operate: calls `graph-memory`.
        folder: the folder to work in.
        variables: what $NAME stands for.
    """

    def __init__(self, operate: Operator, folder: Path, variables: dict[str, str]) -> None:
        self._operate = operate
        self._folder = folder
        self._variables = variables
        self._printed: str | None = None
        self._left_out = False

    def follow(self, page: str) -> None:
        """Do what a page says.

        Raises:
            AssertionError: something came out otherwise; the message names the line.
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
                    f"Nothing runs a block of {other!r}: say sh, sql, python, dotenv or text."
                )

    def _run(self, line: str) -> str:
        expected = int(found[1]) if (found := _EXIT.search(line)) else 0
        command = _COMMENT.sub("", line).strip()
        if exported := re.match(r"export ([A-Z][A-Z0-9_]*)=(.*)", command):
            self._keep(exported[1], self._bash(f"printf %s {exported[2]}", 0))
            return ""
        assert not _HIDDEN.search(command), (
            "graph-memory has to begin its line: nothing runs it here."
        )
        if ours := _OURS.fullmatch(command):
            return self._graph_memory(ours[1], *_cut(ours[2]), expected)
        self._expanded(command)
        return self._bash(command, expected)

    def _graph_memory(self, given: str, words: str, led: str, expected: int) -> str:
        """Run the command here, and what its output is led to in bash. Bash also takes the line apart."""
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
            ["bash", "-euo", "pipefail", "-c", command],  # noqa: S607  whichever bash there is
            cwd=self._folder, input=given, capture_output=True, text=True, timeout=60, env=os.environ | self._variables,
        )  # fmt: skip
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
        """The text with its variables, each of which there must be."""
        missing = [name for name in _VARIABLE.findall(text) if name not in self._variables]
        assert not missing, f"Nothing says what ${missing[0]} is."
        return _VARIABLE.sub(lambda found: self._variables[found[1]], text)

    def _compare(self, promised: str) -> None:
        if self._printed is None:
            assert self._left_out, "Nothing ran that prints this: move it behind its command."
            return
        left = _plain(self._printed)
        for line in filter(None, map(_plain, promised.splitlines())):
            pattern = ".*?".join(
                re.escape(part.strip()) for part in self._expanded(line).split("…")
            )
            found = re.search(pattern, left)
            assert found, (
                f"It does not print (after what is above it): {line}\nIt prints:\n{self._printed}"
            )
            left = left[found.end() :]


def _plain(printed: str) -> str:
    """What is printed without the frames of tables, on one line."""
    return _FRAME.sub(" ", printed).strip()


def commands(block: str) -> Iterator[str]:
    """Yield the commands of an sh block that are to be run."""
    for line in re.sub(r"\\\n\s*", "", block).splitlines():
        if line.strip() and not line.lstrip().startswith("#") and not NOT_TESTED.search(line):
            yield line.strip()


def _cut(command: str) -> tuple[str, str]:
    """A command, and where its output is led (`> FILE`, `| …`)."""
    quote = ""
    for n, char in enumerate(command):
        if char in "'\"":
            quote = "" if quote == char else quote or char
        elif char in "|>" and not quote:
            return command[:n].strip(), command[n:]
    return command.strip(), ""


def unknown_commands(page: str) -> list[str]:
    """Return the `graph-memory …` of a page's prose that there is no such command, or no such option, for."""
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
