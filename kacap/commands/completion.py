"""``kacap completion``: what a shell needs to complete kacap's commands, options and files."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from kacap.errors import EXIT_DONE, UsageError

SHELLS = ("bash", "zsh", "fish")


@click.command(no_args_is_help=True)
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> int:
    """Print the completion script for a shell.

    \b
    bash  kacap completion bash > ~/.local/share/bash-completion/completions/kacap
    zsh   kacap completion zsh > "${fpath[1]}/_kacap"
    fish  kacap completion fish > ~/.config/fish/completions/kacap.fish

    It takes effect in the next shell. For this one alone: eval "$(kacap completion bash)".
    """
    from kacap.commands import COMPLETION_ASKED, main

    found = get_completion_class(shell)
    if found is None:
        raise UsageError(f"no completion for {shell}; known: {', '.join(SHELLS)}")
    click.echo(found(main, {}, "kacap", COMPLETION_ASKED).source().rstrip())
    return EXIT_DONE
