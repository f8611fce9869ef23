"""The supervisor's configuration file, written anew at each start."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping

from idp_cli.supervision.home import Home
from idp_cli.supervision.programs import Group, Program

BACKOFF_RETRIES = 5
"""A program that keeps failing is started again after 1, 2, 3, 4 and 5 s, then given up."""
STEADY_AFTER_SECONDS = 10
"""A program that ran this long and then ends is started again at once."""
LOG_BYTES = "10MB"
LOG_BACKUPS = 3

Section = Mapping[str, str | int]


def configuration_text(home: Home, programs: Iterable[Program]) -> str:
    """The file's text; it holds no secret."""
    programs = tuple(programs)
    sections: dict[str, Section] = {
        "supervisord": _supervisord(home),
        "unix_http_server": {"file": _escape(str(home.socket)), "chmod": "0600"},
        "rpcinterface:supervisor": {
            "supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"
        },
    }
    for program in programs:
        sections[f"program:{program.name}"] = _program(home, program)
    for priority, group in enumerate(Group, start=1):
        names = [program.name for program in programs if program.group == group]
        if names:
            sections[f"group:{group}"] = {"programs": ",".join(names), "priority": priority}
    return "\n".join(_section_text(name, entries) for name, entries in sections.items())


def _supervisord(home: Home) -> Section:
    return {
        "logfile": _escape(str(home.supervisor_log)),
        "logfile_maxbytes": "5MB",
        "logfile_backups": 2,
        "pidfile": _escape(str(home.run / "supervisord.pid")),
        "childlogdir": _escape(str(home.logs)),
        "nodaemon": "true",
        "silent": "true",
        "nocleanup": "true",
    }


def _program(home: Home, program: Program) -> Section:
    return {
        "command": _escape(shlex.join(program.command)),
        "directory": _escape(str(home.run)),
        "environment": ",".join(
            f'{name}="{_escape(value)}"' for name, value in program.environment.items()
        ),
        "autostart": "false",
        "autorestart": "false" if program.is_one_shot else "true",
        "startsecs": 0 if program.is_one_shot else STEADY_AFTER_SECONDS,
        "startretries": 0 if program.is_one_shot else BACKOFF_RETRIES,
        "stopsignal": program.stop_signal,
        "stopwaitsecs": program.stop_seconds,
        "killasgroup": "true",
        "redirect_stderr": "true",
        "stdout_logfile": _escape(str(home.log_of(program.name))),
        "stdout_logfile_maxbytes": LOG_BYTES,
        "stdout_logfile_backups": LOG_BACKUPS,
    }


def _escape(value: str) -> str:
    """The format expands `%(name)s`; everything else was checked by `home.check_path`."""
    return value.replace("%", "%%")


def _section_text(name: str, entries: Section) -> str:
    lines = [f"[{name}]", *(f"{key}={value}" for key, value in entries.items()), ""]
    return "\n".join(lines)
