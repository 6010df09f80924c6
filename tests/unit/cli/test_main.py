"""`rspp` loads a command when it is called, and says plainly when it cannot."""

from __future__ import annotations

import subprocess
import sys
from keyword import iskeyword
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from rspp import __version__
from rspp.cli.main import COMMANDS, Entry, LazyGroup, main


def group(**targets: str) -> LazyGroup:
    return LazyGroup(
        "rspp", entries={name: Entry(target, f"What {name} does.") for name, target in targets.items()}
    )


def test_help_lists_every_command_and_the_exit_statuses() -> None:
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    for name, entry in COMMANDS.items():
        assert name in result.output
        assert entry.summary[:40] in result.output
    assert "Exit status: 0 all is well" in result.output


def test_help_imports_no_command() -> None:
    """Checked in a process of its own, where nothing else has imported them."""
    code = (
        "import sys\n"
        "from rspp.cli.main import main\n"
        "main(['--help'], standalone_mode=False)\n"
        "sys.exit(any(name.startswith(('rspp.kernel', 'rspp.sim', 'rspp.spec')) for name in sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_version_is_the_package_s() -> None:
    assert CliRunner().invoke(main, ["--version"]).output == f"rspp, version {__version__}\n"


def test_an_unknown_command_is_a_usage_error() -> None:
    assert CliRunner().invoke(main, ["nonsense"]).exit_code == 2


def test_a_command_is_loaded_and_called(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "a_command_for_a_test.py").write_text(
        "import click\n@click.command()\ndef command(): click.echo('called')\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    result = CliRunner().invoke(group(one="a_command_for_a_test:command"), ["one"])
    assert result.output == "called\n"


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("rspp.cli.not_there:command", "is not in this version: there is no module rspp.cli.not_there"),
        ("rspp.cli.output:Status", "rspp.cli.output:Status is not a click command"),
        ("rspp.cli.output:nothing", "rspp.cli.output:nothing is not a click command"),
    ],
)
def test_a_command_that_cannot_load_says_which_file_is_at_fault(target: str, message: str) -> None:
    result = CliRunner().invoke(group(one=target), ["one"])
    assert result.exit_code == 1
    assert message in result.output


def test_a_missing_dependency_is_not_taken_for_a_missing_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "a_command_that_needs.py").write_text(
        "import a_package_that_is_not_there\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    result = CliRunner().invoke(group(one="a_command_that_needs:command"), ["one"])
    assert result.exit_code == 1
    assert "needs a_package_that_is_not_there, which is not installed" in result.output


def test_a_table_entry_names_a_file_of_the_command_s_own_name() -> None:
    assert {name: entry.target for name, entry in COMMANDS.items()} == {
        # A word of the language itself has an underscore after it in a file's name.
        # Where there are many files, the group is in `main`.
        name: f"rspp.cli.{name}{'_' * iskeyword(name)}{'.main' * (name in ('control', 'runtime', 'verify'))}:command"
        for name in COMMANDS
    }
    assert isinstance(main, click.Group)
