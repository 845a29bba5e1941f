"""Supabase's own command, for the tests that need it."""

import shutil
import subprocess
from pathlib import Path

import pytest

PACKAGE = "supabase@3"


@pytest.fixture(scope="session")
def supabase_cli(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Supabase's command from npm; skips the test where there is none to be had."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed, and the Supabase CLI comes from there")
    folder = tmp_path_factory.mktemp("supabase_cli")
    command = [
        npm,
        "install",
        "--silent",
        "--no-audit",
        "--no-fund",
        "--prefix",
        str(folder),
        PACKAGE,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    binary = folder / "node_modules" / ".bin" / "supabase"
    if done.returncode or not binary.exists():
        pytest.skip(f"npm could not install {PACKAGE}: {done.stderr.strip()[-200:]}")
    return binary
