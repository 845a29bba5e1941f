"""Shell completion of `graph-memory`: its suggestions and its installation."""

import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from graphs.cli.main import app


def asked(instruction: str, line: str = "") -> str:
    """Return the command's answer to a shell, which asks through environment variables."""
    words = {"COMP_WORDS": line, "COMP_CWORD": str(line.count(" ")), "_TYPER_COMPLETE_ARGS": line}
    return (
        CliRunner()
        .invoke(app, env=words | {"_GRAPH_MEMORY_COMPLETE": instruction}, prog_name="graph-memory")
        .stdout
    )


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize(
    ("typed", "offered", "not_offered"),
    [
        ("po", "pool", "verify"),
        ("pool ", "config", "create"),
        ("runs ", "undo", "purge"),
        ("rls debug --", "--user-id", "--days"),
    ],
)
def test_what_fits_is_offered(shell: str, typed: str, offered: str, not_offered: str) -> None:
    if shell == "fish":
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
            told = asked("complete_fish", f"graph-memory {typed}")
    else:
        told = asked(f"complete_{shell}", f"graph-memory {typed}")
    assert (offered in told, not_offered in told) == (True, False), told


def test_a_shell_that_starts_anew_completes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    # Install for bash, whatever shell runs the tests.
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    installed = CliRunner().invoke(app, ["--install-completion", "bash"], prog_name="graph-memory")
    assert installed.exit_code == 0, installed.output
    shell = ["bash", "-c", "source ~/.bashrc && complete -p graph-memory"]
    taken = subprocess.run(shell, capture_output=True, text=True, check=True)
    assert taken.stdout.split()[-1] == "graph-memory"
    shown = CliRunner().invoke(app, ["--show-completion", "zsh"], prog_name="graph-memory")
    assert "#compdef graph-memory" in shown.stdout
