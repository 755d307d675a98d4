"""Help shows every command in its group with an example that the command understands; shells complete it."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from fermoe.cli import SECTIONS, main

EXAMPLES = {name: example for section in SECTIONS.values() for name, example in section.items()}


def test_every_command_is_in_one_group() -> None:
    assert sorted(name for section in SECTIONS.values() for name in section) == sorted(main.commands)


def test_help_shows_every_group_command_and_example() -> None:
    text = CliRunner().invoke(main, ["--help"], terminal_width=120).output
    for section, examples in SECTIONS.items():
        assert f"{section}:" in text
        for name, example in examples.items():
            assert f"\n  {name} " in text
            assert f"$ {example}\n" in text


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_understood_by_its_command(name: str) -> None:
    program, *arguments = shlex.split(EXAMPLES[name])
    assert (program, arguments[0]) == ("fermoe", name)
    command: click.Command = main
    while isinstance(command, click.Group):
        command = command.commands[arguments.pop(0)]
    command.make_context(name, arguments)  # raises for an unknown option or a missing argument


@pytest.mark.parametrize(("shell", "word"), [("bash", "COMP_WORDS"), ("zsh", "compdef"), ("fish", "complete")])
def test_the_completion_that_help_names_is_there(shell: str, word: str) -> None:
    assert f"_FERMOE_COMPLETE={shell}_source fermoe" in CliRunner().invoke(main, ["--help"]).output
    code = "from fermoe.cli import main; main(prog_name='fermoe')"
    environment = os.environ | {"_FERMOE_COMPLETE": f"{shell}_source"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert word in done.stdout


def test_a_shell_is_offered_the_commands() -> None:
    code = "from fermoe.cli import main; main(prog_name='fermoe')"
    environment = os.environ | {"_FERMOE_COMPLETE": "zsh_complete", "COMP_WORDS": "fermoe p", "COMP_CWORD": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    offered = done.stdout.split("\n")[1::3]
    assert set(offered) == {name for name in main.commands if name.startswith("p")}
