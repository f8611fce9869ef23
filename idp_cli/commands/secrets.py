"""`idp secret`: secrets as references, their rotation, and the way to their values."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from idp_cli.advice import about_application_environment, about_secret, refusals_about
from idp_cli.agreement import agree
from idp_cli.api import (
    BINDINGS_OF_SECRET,
    COMPROMISED,
    REVOCATION,
    ROTATION,
    ROTATION_POLICY,
    SECRET,
    SECRET_MOVE,
    SECRETS,
    SECRETS_OF_ENVIRONMENT,
)
from idp_cli.arguments import (
    ApplicationFilter,
    ApplicationName,
    EnvironmentFilter,
    EnvironmentSlug,
    Limit,
    NamePrefix,
    SecretName,
    StateFilter,
    TeamFilter,
    TeamOption,
    Yes,
    query_of,
)
from idp_cli.commands.application_environments import environment_of
from idp_cli.commands.applications import application_id, find_application
from idp_cli.commands.requests import finish, follow, show_accepted
from idp_cli.commands.secret_login import login
from idp_cli.declarations.differences import SUSPENDED
from idp_cli.declared_secrets import SECRET_HELP, SECRET_METAVAR, parse_secrets
from idp_cli.invocation import Invocation, invocation_of
from idp_cli.output import Columns, program_word
from idp_cli.rotation_policies import (
    ANY_TIME,
    NEVER,
    changed_policy,
    policy_changes,
    policy_facts,
)
from idp_cli.rotation_windows import WINDOW_FORM
from idp_cli.secret_addresses import address_of, find_secret
from idp_cli.step_view import ended_or_in_long_grace, has_ended
from idp_kernel.errors import InvalidInput
from idp_kernel.wire.api import (
    AddSecrets,
    ReportCompromised,
    RequestAccepted,
    RevokeSecret,
    RotateSecret,
    Secret,
    SecretBinding,
    SetRotationPolicy,
)

app = typer.Typer(no_args_is_help=True, help="Secrets, their rotation, and the way to a value.")

SECRET_COLUMNS = Columns[Secret](
    {
        "SECRET": address_of,
        "ISSUER": lambda secret: secret.issuer,
        "SENSITIVITY": lambda secret: secret.sensitivity,
        "STATE": lambda secret: secret.state,
        "VERSION": lambda secret: secret.version,
        "NEXT ROTATION": lambda secret: secret.next_rotation_at,
        "REQUEST": lambda secret: secret.active_request_id,
    },
    spare=("REQUEST", "SENSITIVITY", "ISSUER"),
)
BINDING_COLUMNS = Columns[SecretBinding](
    {
        "BINDING": lambda binding: binding.id,
        "APP": lambda binding: binding.application,
        "ENVIRONMENT": lambda binding: binding.environment,
        "STATE": lambda binding: binding.state,
        "VERSION": lambda binding: binding.version,
    }
)


@app.command("list")
def list_(
    context: typer.Context,
    team: TeamFilter = None,
    application: ApplicationFilter = None,
    environment: EnvironmentFilter = None,
    state: StateFilter = None,
    prefix: NamePrefix = None,
    limit: Limit = None,
    *,
    due: Annotated[bool, typer.Option("--due", help="Those whose rotation is due only.")] = False,
) -> None:
    """List the secrets you may see, as references."""
    invocation = invocation_of(context)
    query = query_of(
        team=team,
        applicationId=application_id(invocation.api, application, team),
        environment=environment,
        state=state,
        namePrefix=prefix,
        dueBefore=datetime.now(UTC).isoformat() if due else None,
    )
    found = list(invocation.api.all(SECRETS, Secret, query, limit=limit))
    invocation.output.items(found, SECRET_COLUMNS)


@app.command()
def add(
    context: typer.Context,
    application: ApplicationName,
    environment: EnvironmentSlug,
    secret: Annotated[list[str], typer.Argument(metavar=SECRET_METAVAR, help=SECRET_HELP)],
    team: TeamOption = None,
    reason: Annotated[str, typer.Option(help="Why; it stands in the audit.")] = "",
    *,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show each step until the request has ended.")
    ] = False,
) -> None:
    """Give an environment that is Active further secrets; it stays Active meanwhile."""
    invocation = invocation_of(context)
    body = AddSecrets(secrets=parse_secrets(secret), reason=reason)
    owner = find_application(invocation.api, application, team)
    found = environment_of(invocation.api, owner, environment)
    path = SECRETS_OF_ENVIRONMENT.format(application_environment_id=found.id)
    with refusals_about(about_application_environment(found)):
        accepted = invocation.api.command(path, RequestAccepted, body)
    if watch:
        finish(invocation, follow(invocation, accepted.request_id))
    show_accepted(invocation, accepted)


@app.command()
def show(context: typer.Context, secret: SecretName) -> None:
    """Show a secret, its rotation and where it is bound."""
    invocation = invocation_of(context)
    _show(invocation, find_secret(invocation.api, secret))


@app.command()
def bindings(context: typer.Context, secret: SecretName, limit: Limit = None) -> None:
    """List where a secret is bound, and which version each binding pins."""
    invocation = invocation_of(context)
    path = BINDINGS_OF_SECRET.format(secret_id=find_secret(invocation.api, secret).id)
    found = list(invocation.api.all(path, SecretBinding, limit=limit))
    invocation.output.items(found, BINDING_COLUMNS)


@app.command()
def rotate(
    context: typer.Context,
    secret: SecretName,
    reason: Annotated[str, typer.Option(help="Why; it stands in the audit.")] = "",
    *,
    emergency: Annotated[
        bool,
        typer.Option(
            "--emergency",
            help="No grace: the old credential ends as soon as the consumers have the new one.",
        ),
    ] = False,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Show each step; a long grace period is not sat out."),
    ] = False,
    until_end: Annotated[
        bool, typer.Option("--until-end", help="Watch through the grace period, however long.")
    ] = False,
) -> None:
    """Replace a credential by a new one; the old one works until everybody has the new one."""
    invocation = invocation_of(context)
    found = find_secret(invocation.api, secret)
    path = ROTATION.format(secret_id=found.id)
    body = RotateSecret(emergency=emergency, reason=reason)
    with refusals_about(about_secret(found)):
        accepted = invocation.api.command(path, RequestAccepted, body)
    if watch or until_end:
        # An emergency is over when the old credential has ended, not before.
        is_over = has_ended if until_end or emergency else ended_or_in_long_grace
        finish(invocation, follow(invocation, accepted.request_id, is_over=is_over))
    show_accepted(invocation, accepted)


@app.command()
def policy(
    context: typer.Context,
    secret: SecretName,
    interval: Annotated[
        str | None, typer.Option(help="How long a version is good, such as 30d.")
    ] = None,
    grace: Annotated[
        str | None, typer.Option(help="How long the old credential works on, such as 1h or 0s.")
    ] = None,
    window: Annotated[
        str | None,
        typer.Option(help=f"When the schedule may rotate it: {WINDOW_FORM}; or {ANY_TIME}."),
    ] = None,
    expires_at: Annotated[
        str | None,
        typer.Option(
            help="When the credential ends by itself, such as 2027-01-31 or "
            f"2027-01-31T12:00:00Z; or {NEVER}."
        ),
    ] = None,
    *,
    default: Annotated[
        bool, typer.Option("--default", help="Go back to what its sensitivity sets.")
    ] = False,
) -> None:
    """Show a secret's rotation policy, or change it; what is left out stays as it is."""
    invocation = invocation_of(context)
    found = find_secret(invocation.api, secret)
    changes = policy_changes(interval=interval, grace=grace, window=window, expires_at=expires_at)
    if default and changes:
        raise InvalidInput("--default goes back to the defaults; leave the other options out.")
    if default or changes:
        found, tag = invocation.api.look(SECRET.format(secret_id=found.id), Secret)
        body = SetRotationPolicy() if default else changed_policy(found.rotation_policy, changes)
        path = ROTATION_POLICY.format(secret_id=found.id)
        found = invocation.api.put(path, Secret, body, if_match=tag)
    facts = (
        ("secret", address_of(found)),
        *policy_facts(found.rotation_policy),
        ("next rotation", found.next_rotation_at),
    )
    invocation.output.item(found.rotation_policy, facts)


@app.command()
def compromised(
    context: typer.Context,
    secret: SecretName,
    reason: Annotated[str, typer.Option(help="What happened; it stands in the audit.")],
) -> None:
    """Say that somebody else may know a value; an emergency rotation starts by itself."""
    invocation = invocation_of(context)
    found = find_secret(invocation.api, secret)
    path = COMPROMISED.format(secret_id=found.id)
    with refusals_about(about_secret(found)):
        reported = invocation.api.command(path, Secret, ReportCompromised(reason=reason))
    _show(invocation, reported)
    idp = program_word()
    if reported.state == SUSPENDED:
        resumed = f"{idp} secret resume {found.id}"
        invocation.output.hint(f"Next: {resumed}; until then a suspended secret is not rotated")
    else:
        invocation.output.hint(f"Next: {idp} secret show {found.id}, which names the rotation soon")


@app.command()
def revoke(
    context: typer.Context,
    secret: SecretName,
    reason: Annotated[str, typer.Option(help="Why; it stands in the audit.")],
    *,
    yes: Yes = False,
    watch: Annotated[bool, typer.Option("--watch", help="Show each step until the end.")] = False,
) -> None:
    """End a secret for good: bindings, logins with their sessions, and values. Irreversible."""
    invocation = invocation_of(context)
    found = find_secret(invocation.api, secret)
    address = address_of(found)
    agree(
        invocation,
        f"Revoke {address} for good? Its bindings are removed, its logins and their sessions end, "
        "and every version of its value is destroyed, or deleted where the store is set to keep "
        "what ended. No command brings it back.",
        whether=f"to revoke {address}, which nothing takes back",
        code="irreversible",
        is_agreed=yes,
    )
    path = REVOCATION.format(secret_id=found.id)
    with refusals_about(about_secret(found)):
        accepted = invocation.api.command(path, RequestAccepted, RevokeSecret(reason=reason))
    if watch:
        finish(invocation, follow(invocation, accepted.request_id))
    show_accepted(invocation, accepted)


@app.command()
def archive(context: typer.Context, secret: SecretName) -> None:
    """Put a revoked secret away; it is kept for the record."""
    _move(context, secret, "archive")


@app.command()
def suspend(context: typer.Context, secret: SecretName) -> None:
    """Let a secret not be rotated for now."""
    _move(context, secret, "suspend")


@app.command()
def resume(context: typer.Context, secret: SecretName) -> None:
    """Let a suspended secret be rotated again."""
    _move(context, secret, "resume")


def _move(context: typer.Context, secret: str, move: str) -> None:
    invocation = invocation_of(context)
    found = find_secret(invocation.api, secret)
    path = SECRET_MOVE.format(secret_id=found.id, move=move)
    with refusals_about(about_secret(found)):
        moved = invocation.api.command(path, Secret)
    _show(invocation, moved)


def _show(invocation: Invocation, secret: Secret) -> None:
    facts = (
        ("secret", address_of(secret)),
        ("purpose", secret.purpose),
        ("sensitivity", secret.sensitivity),
        ("issuer", secret.issuer),
        ("state", secret.state),
        ("store path", secret.store_path),
        ("version", secret.version),
        ("rotated", secret.rotated_at),
        ("next rotation", secret.next_rotation_at),
        *policy_facts(secret.rotation_policy),
        ("request under way", secret.active_request_id),
        ("id", secret.id),
    )
    invocation.output.item(secret, facts)
    if secret.bindings and not invocation.output.is_for_programs:
        invocation.output.console.print()
        invocation.output.columns(secret.bindings, BINDING_COLUMNS)


app.command()(login)
