"""What each command looks like when it is typed: one example at least, the plainest first.

Help, errors about wrong usage and the reference page show them; tests parse and run them.
"""

from __future__ import annotations

from rich.markup import escape

from idp_kernel.secret_store import SECRETS_MOUNT

_REQUEST = "01a21042-bdd9-79ea-9b56-d948db4e0756"
_APPLICATION = "01a21042-2a77-7f61-b0de-8e5c9d3f1a02"
_APPENV = "01a21043-0c11-7b52-8f0a-6d1c4b1d9f10"
_STORED = f"teams/payments/appenv/{_APPENV}/app-key"
_TOKEN = "01a21044-5a0e-7c3d-9b1a-2f60d1c8e7a4"
_BINDING = "01a21045-9e27-7d18-8c44-71b3e5a90c62"
_REPOSITORY = "01a21046-17fd-7a90-a3d2-c08e4f6b5d31"
_INTEGRATION = "01a21047-62b8-7e05-b7f1-9a4d3c2e1f08"

EXAMPLES: dict[str, tuple[str, ...]] = {
    "up": ("", "--port-offset 100"),
    "demo": ("",),
    "down": ("",),
    "status": ("", "--output json"),
    "doctor": ("",),
    "drain": ("",),
    "resume": ("",),
    "apply": (
        "-f payments.yaml --dry-run",
        "-f payments.yaml --yes --watch",
        "-f - --yes",
    ),
    "events": (
        "--after 1h",
        "--follow",
        f"--request {_REQUEST}",
        "--type team_created --output json",
    ),
    "whoami": ("",),
    "completion": ("bash", "zsh", "fish"),
    "team create": ("payments --name Payments",),
    "team list": ("", "--state Active --prefix pay --limit 20"),
    "team show": ("payments", "payments --output yaml"),
    "team describe": ('payments --name "Payments and invoices"',),
    "team activate": ("payments",),
    "team suspend": ("payments",),
    "team resume": ("payments",),
    "team archive": ("payments --yes",),
    "team policy": (
        "payments",
        "payments --undo-on-failure",
        "payments --application-approval required",
    ),
    "team limits": ("payments", "payments --applications 20 --requests default"),
    "team member add": ("payments ana@example.com --role team-maintainer",),
    "team member remove": ("payments ana@example.com",),
    "team member list": ("payments", "payments --role team-maintainer"),
    "token create": ("ana@example.com --expires 30d", "root-on-call --platform-admin"),
    "token list": ("", "--principal ana@example.com"),
    "token show": (_TOKEN,),
    "token revoke": (_TOKEN,),
    "admin list": ("",),
    "admin remove": ("root-on-call",),
    "environment create": ('staging --description "As production, without customers"',),
    "environment list": ("", "--state Active"),
    "environment show": ("staging",),
    "environment describe": ('staging --description "The last stop before production"',),
    "environment activate": ("staging",),
    "environment freeze": ("staging",),
    "environment unfreeze": ("staging",),
    "environment retire": ("staging --yes",),
    "app register": (
        "payments shop",
        "payments shop --provision staging --secret app-key --secret db:postgres:high --watch",
    ),
    "app onboard": ("shop --watch",),
    "app list": ("", "--team payments --state Active"),
    "app show": ("shop", "shop --team payments", _APPLICATION),
    "app describe": ('shop --description "Where customers pay"',),
    "app approve": ("shop", 'shop --reason "We agreed on it on Monday"'),
    "app reject": ('shop --reason "The store does this already"',),
    "app deprecate": ("shop",),
    "app decommission": ('shop --reason "Nobody sells there any more" --yes --watch',),
    "env provision": ("shop staging --watch", "shop staging --secret db:postgres:high"),
    "env list": ("", "shop", "--environment staging --state Active"),
    "env show": (_APPENV,),
    "env freeze": (_APPENV,),
    "env unfreeze": (_APPENV,),
    "env decommission": (f'{_APPENV} --reason "The trial is over" --yes --watch',),
    "secret list": ("", "--app shop --environment staging", "--due"),
    "secret add": (
        "shop staging db:postgres:high --watch",
        'shop staging mailer:external_integration images:harbor --reason "It sends mail now"',
    ),
    "secret show": ("payments/shop/staging/db",),
    "secret bindings": ("payments/shop/staging/db",),
    "secret rotate": (
        "payments/shop/staging/db --watch",
        'payments/shop/staging/db --emergency --reason "It was in a log"',
    ),
    "secret policy": (
        "payments/shop/staging/db",
        'payments/shop/staging/db --interval 30d --window "mon-fri 22-06 Europe/Madrid"',
    ),
    "secret compromised": ('payments/shop/staging/db --reason "It was in a log"',),
    "secret revoke": ('payments/shop/staging/db --reason "Nobody uses it any more" --yes --watch',),
    "secret archive": ("payments/shop/staging/db",),
    "secret suspend": ("payments/shop/staging/db",),
    "secret resume": ("payments/shop/staging/db",),
    "secret login": (
        "payments/shop/staging/app-key",
        f"payments/shop/staging/app-key --exec bao kv get -mount={SECRETS_MOUNT} {_STORED}",
    ),
    "binding show": (_BINDING,),
    "binding suspend": (_BINDING,),
    "binding resume": (_BINDING,),
    "repository list": ("shop", "shop --kind deployment"),
    "repository show": (_REPOSITORY,),
    "repository merge": ("payments/shop add-checkout",),
    "integration list": ("shop",),
    "integration show": (_INTEGRATION,),
    "request list": (
        "",
        "--team payments --state failed --after 7d",
        "--waiting-for approval_pending",
    ),
    "request show": (_REQUEST,),
    "request watch": (_REQUEST,),
    "request cancel": (f'{_REQUEST} --reason "Not today"',),
    "request retry": (f"{_REQUEST} --watch",),
    "request undo": (f"{_REQUEST} --preview", f'{_REQUEST} --reason "Wrong team" --watch'),
}
"""By the words that call the command: what follows them."""


def examples_of(words: str) -> tuple[str, ...]:
    """Whole command lines, without the program's name; none for a group."""
    return tuple(f"{words} {rest}".rstrip() for rest in EXAMPLES.get(words, ()))


def help_of_examples(words: str) -> str | None:
    """What stands at the end of a command's help."""
    lines = "\n".join(f"  idp {escape(example)}" for example in examples_of(words))
    return f"For example:\n{lines}" if lines else None
