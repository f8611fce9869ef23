"""Completion in bash, zsh and fish: the script a shell loads, and the answer it then asks for.

The script calls the program with `COMPLETION_VARIABLE` set to the shell's name and, as arguments,
the words up to the cursor, the last of them begun or empty. The answer is a suggestion a line, with
what it is behind a tab where the shell shows that. Nothing else is ever written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import StrEnum

from typer._click.shell_completion import CompletionItem
from typer._completion_classes import BashComplete
from typer.core import TyperGroup

from idp_cli.command_line import GLOBAL_OPTIONS, with_global_options_first

COMPLETION_VARIABLE = "_IDP_COMPLETE"
LookUp = Callable[[list[str], str], list[CompletionItem]]
"""What may stand behind the words, beginning like the last."""


class Shell(StrEnum):
    """The shells there is a script for."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


_SCRIPTS: dict[Shell, str] = {
    Shell.BASH: """\
# Completion of idp for bash: eval "$(idp completion bash)", in ~/.bashrc for every shell.
_idp_completion() {
    local IFS=$'\\n'
    COMPREPLY=($(_IDP_COMPLETE=bash "${COMP_WORDS[0]}" "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _idp_completion idp
""",
    Shell.ZSH: """\
#compdef idp
# Completion of idp for zsh: eval "$(idp completion zsh)" after compinit, in ~/.zshrc for every
# shell; or written to a file named _idp in a folder of $fpath.
_idp() {
    local line value
    local -a suggested
    for line in "${(@f)$(_IDP_COMPLETE=zsh "${words[1]}" "${(@)words[2,$CURRENT]}" 2>/dev/null)}"
    do
        value=${line%%$'\\t'*}
        [[ -n $value ]] || continue
        suggested+=("${value//:/\\\\:}${${line#$value}/$'\\t'/:}")
    done
    if (( ${#suggested} )); then
        _describe -V idp suggested
    else
        _files
    fi
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _idp "$@"
else
    compdef _idp idp
fi
""",
    Shell.FISH: """\
# Completion of idp for fish: idp completion fish | source, in ~/.config/fish/config.fish for every
# shell; or written to ~/.config/fish/completions/idp.fish.
function __idp_complete
    set -l words (commandline --tokenize --cut-at-cursor --current-process)
    set -l current (commandline --current-token --cut-at-cursor)
    set -l suggested (env _IDP_COMPLETE=fish $words[1] $words[2..] "$current" 2>/dev/null)
    if test (count $suggested) -gt 0
        printf '%s\\n' $suggested
    else
        __fish_complete_path "$current"
    end
end
complete --command idp --no-files --arguments '(__idp_complete)'
""",
}

_SPLIT_BY_BASH = ("=", ":")
"""Characters at which bash splits words for completion, each a word of its own then."""


def script_of(shell: Shell) -> str:
    """What the shell loads to complete `idp`."""
    return _SCRIPTS[shell]


def suggestions(program: TyperGroup, words: list[str], shell: str) -> Iterator[str]:
    """A line for each word that may stand where the cursor is."""
    *before, incomplete = (_glued(words) if shell == Shell.BASH else words) or [""]
    # What resolves a command line that is not whole yet is the same for all of typer's shells.
    look_up = BashComplete(program, {}, "idp", COMPLETION_VARIABLE).get_completions
    for item in _complete(look_up, before, incomplete):
        described = shell != Shell.BASH and item.help
        yield f"{item.value}\t{' '.join(str(item.help).split())}" if described else str(item.value)


def _glued(words: list[str]) -> list[str]:
    """The words as they were typed, where bash split them."""
    whole: list[str] = []
    joins = False
    for word in words:
        is_seam = word in _SPLIT_BY_BASH
        if whole and (joins or is_seam):
            whole[-1] += word
        else:
            whole.append(word)
        joins = is_seam
    return whole


def _complete(look_up: LookUp, before: list[str], incomplete: str) -> Iterator[CompletionItem]:
    """Options of the program itself may stand anywhere, so they are completed anywhere."""
    if before and before[-1] in GLOBAL_OPTIONS:
        yield from look_up(before[-1:], incomplete)
        return
    found = look_up(with_global_options_first(before), incomplete)
    yield from found
    if incomplete.startswith("-") and "--" not in before:
        known = {item.value for item in found}
        for item in look_up([], incomplete):
            if item.value in GLOBAL_OPTIONS and item.value not in known:
                yield item
