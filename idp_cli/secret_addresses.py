"""Secrets as people name them: by id, or by where they belong."""

from __future__ import annotations

import re

from idp_cli.api import SECRET, SECRETS, Api, path_segment
from idp_kernel.errors import InvalidInput, NotFound
from idp_kernel.ids import ID_PATTERN
from idp_kernel.wire.api import Secret

ADDRESS_FORM = "TEAM/APP/ENVIRONMENT/NAME"
_PARTS = ADDRESS_FORM.count("/") + 1


def address_of(secret: Secret) -> str:
    """How people name it."""
    return f"{secret.team}/{secret.application}/{secret.environment}/{secret.name}"


def find_secret(api: Api, name: str) -> Secret:
    """The secret a person means by its id or its address.

    Raises `InvalidInput` when it is neither, `NotFound` when there is none they may see.
    """
    if re.fullmatch(ID_PATTERN, name):
        return get_secret(api, name)
    parts = name.split("/")
    if len(parts) != _PARTS or not all(parts):
        raise InvalidInput(
            f"{name!r} is neither a secret's id nor {ADDRESS_FORM}, such as "
            "payments/shop/dev/app-key."
        )
    for secret in api.all(SECRETS, Secret, {"team": parts[0]}):
        if address_of(secret) == name:
            return get_secret(api, secret.id)
    raise NotFound(f"There is no secret {name} that your token may see.")


def get_secret(api: Api, secret_id: str) -> Secret:
    """A secret as it stands now, with its bindings."""
    return api.get(SECRET.format(secret_id=path_segment(secret_id)), Secret)
