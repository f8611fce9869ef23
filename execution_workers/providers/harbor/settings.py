"""What execution-workers can be told of Harbor."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from idp_kernel.settings import (
    AuthoritiesFile,
    Form,
    HttpUrl,
    OnOff,
    SecretFilePath,
    ServiceSettings,
)

RobotPrefix = Annotated[
    str, Field(pattern=r"^\S{1,64}$"), Form("1 to 64 characters without a blank")
]
RegistryHost = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9.-]+(:\d+)?$"),
    Form("a host name, with a port where it is not the usual one"),
]


class HarborSettings(ServiceSettings):
    """What the issuer `harbor` needs."""

    harbor_url: HttpUrl | None = None
    """Where Harbor is. Without it a secret of the issuer `harbor` is refused."""
    harbor_credentials_file: SecretFilePath | None = None
    """The platform's own account there: JSON with `username` and `password`."""
    harbor_ca_file: AuthoritiesFile | None = None
    """The authorities that vouch for its certificate, as PEM; the well-known ones without it."""
    harbor_registry: RegistryHost | None = None
    """How images of it are named, where that is not the host of HARBOR_URL."""
    harbor_robot_prefix: RobotPrefix = "robot$"
    """What Harbor puts before the names of robots, as its system settings have it."""
    harbor_robots_push: OnOff = False
    """Whether the robots may push images to the team's project too; without it they only pull."""
