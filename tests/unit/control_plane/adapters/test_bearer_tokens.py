"""Bearer tokens: what they look like, and that their hash tells nothing else apart."""

from __future__ import annotations

import re

from control_plane.adapters.bearer_tokens import hash_bearer_token, new_bearer_token
from idp_kernel.telemetry.logs import redact


def test_a_token_has_32_random_bytes_in_base62() -> None:
    tokens = {new_bearer_token() for _ in range(200)}
    assert len(tokens) == 200
    # 32 bytes are 43 digits of base 62; a leading zero is left out now and then.
    assert all(re.fullmatch(r"idp_pat_[0-9A-Za-z]{40,43}", token) for token in tokens)


def test_logs_never_show_a_token() -> None:
    token = new_bearer_token()
    assert token not in redact(f"got {token} from somebody")


def test_the_hash_is_stable_and_its_own() -> None:
    token = new_bearer_token()
    assert hash_bearer_token(token) == hash_bearer_token(token)
    assert hash_bearer_token(token) != hash_bearer_token(new_bearer_token())
    assert len(hash_bearer_token(token)) == 32
