"""The forge's REST API: who sees and does what, and what odd callers get."""

from __future__ import annotations

import http.client
import secrets
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import httpx
import psutil
import pytest

from idp_kernel.services import LOOPBACK
from tests.fixtures.forge import MARKER, ForgeServer, KnownPeople
from tests.integration.local_stack.conftest import SomeRepository

REPOSITORIES = "/api/v1/repositories"


def wanted(**changes: Any) -> dict[str, Any]:
    name = f"repo-{secrets.token_hex(4)}"
    return {"owner": "payments", "name": name, "marker": MARKER, **changes}


def is_problem(answer: httpx.Response, status: int, code: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"


class TestRepositories:
    def test_a_created_repository_is_empty_and_marked(self, forge: ForgeServer) -> None:
        body = wanted(description="What it is for", defaultBranch="trunk")
        created = forge.call("POST", REPOSITORIES, token=forge.bot_token, json=body).json()
        assert created["cloneUrl"] == f"{forge.url}/payments/{body['name']}.git"
        assert created["headRevision"] is None
        assert created["marker"] == MARKER
        assert created["defaultBranch"] == "trunk"
        path = f"{REPOSITORIES}/payments/{body['name']}"
        assert forge.call("GET", path, token=forge.bot_token).json() == created

    def test_the_same_name_again_is_a_conflict(
        self, forge: ForgeServer, repository: SomeRepository
    ) -> None:
        body = wanted(name=repository.name)
        answer = forge.call("POST", REPOSITORIES, token=forge.bot_token, json=body)
        is_problem(answer, 409, "repository_exists")

    def test_of_many_at_once_one_is_created(self, forge: ForgeServer) -> None:
        body = wanted()
        with ThreadPoolExecutor(5) as pool:
            answers = pool.map(
                lambda _: forge.call("POST", REPOSITORIES, token=forge.bot_token, json=body),
                range(5),
            )
        assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409, 409]

    def test_deletion_by_the_bot_and_a_repeated_one_finds_nothing(
        self, forge: ForgeServer, repository: SomeRepository
    ) -> None:
        assert forge.call("DELETE", repository.path, token=forge.bot_token).status_code == 204
        again = forge.call("DELETE", repository.path, token=forge.bot_token)
        is_problem(again, 404, "no_such_repository")
        assert repository.bot.push("HEAD:main").returncode != 0

    def test_a_list_is_told_as_soon_as_it_is_new(
        self, forge: ForgeServer, repository: SomeRepository
    ) -> None:
        def ask(known: str, wait_seconds: float) -> tuple[httpx.Response, float]:
            query = {"known": known, "waitSeconds": wait_seconds}
            answer = forge.call("GET", REPOSITORIES, token=forge.bot_token, params=query)
            return answer, time.monotonic()

        first, began = ask("", 5)
        unchanged, ended = ask(first.headers["ETag"], 0.2)
        assert unchanged.json() == first.json()
        assert ended - began >= 0.2
        revision = repository.bot.commit("README.md", "more\n", "More")
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(ask, first.headers["ETag"], 5)
            assert repository.bot.push("HEAD:refs/heads/main").returncode == 0
            answer, _ = waiting.result()
        if answer.headers["ETag"] == first.headers["ETag"]:
            answer, _ = ask(first.headers["ETag"], 5)  # the push took that long
        heads = {each["name"]: each["headRevision"] for each in answer.json()["items"]}
        assert heads[repository.name] == revision
        assert answer.headers["ETag"] != first.headers["ETag"]

    def test_a_list_shows_what_the_caller_may_see(
        self, forge: ForgeServer, repository: SomeRepository, viewer: str, admin: str, stranger: str
    ) -> None:
        def seen(token: str) -> set[str]:
            items = forge.call("GET", REPOSITORIES, token=token).json()["items"]
            return {f"{item['owner']}/{item['name']}" for item in items}

        forge.create_repository("search", f"index-{secrets.token_hex(4)}")
        everything = seen(forge.bot_token)
        assert everything == seen(forge.agent_token) == seen(admin)
        assert seen(viewer) == {name for name in everything if name.startswith("payments/")}
        assert seen(stranger) == {name for name in everything if name.startswith("search/")}

    @pytest.mark.parametrize("who", ["maintainer", "admin"])
    def test_people_neither_create_nor_delete(
        self, repository: SomeRepository, who: str, request: pytest.FixtureRequest
    ) -> None:
        token, forge = request.getfixturevalue(who), repository.forge
        answer = forge.call("POST", REPOSITORIES, token=token, json=wanted())
        is_problem(answer, 403, "platform_only")
        is_problem(forge.call("DELETE", repository.path, token=token), 403, "platform_only")

    def test_the_agent_changes_nothing(self, repository: SomeRepository) -> None:
        forge = repository.forge
        answer = forge.call("DELETE", repository.path, token=forge.agent_token)
        is_problem(answer, 403, "platform_only")


class TestArchive:
    def test_an_archived_repository_is_read_and_never_changed(
        self, repository: SomeRepository
    ) -> None:
        forge, bot = repository.forge, repository.forge.bot_token
        path = f"{repository.path}/archive"
        for _ in range(2):
            archived = forge.call("PUT", path, token=bot)
            assert (archived.status_code, archived.json()["archived"]) == (200, True)
        assert forge.call("GET", repository.path, token=bot).json()["archived"]
        repository.bot.commit("more.txt", "more\n")
        pushed = repository.bot.push("HEAD:refs/heads/main")
        assert pushed.returncode != 0
        assert "archived" in pushed.stderr
        protection = f"{repository.path}/protection/main"
        body = TestProtection.BODY
        assert repository.head() == repository.seed
        answer = forge.call("PUT", protection, token=bot, json=body)
        is_problem(answer, 409, "repository_archived")

    @pytest.mark.parametrize("who", ["maintainer", "admin"])
    def test_people_archive_none(
        self, repository: SomeRepository, who: str, request: pytest.FixtureRequest
    ) -> None:
        token = request.getfixturevalue(who)
        answer = repository.forge.call("PUT", f"{repository.path}/archive", token=token)
        is_problem(answer, 403, "platform_only")

    def test_what_is_not_there_is_not_archived(self, forge: ForgeServer) -> None:
        path = f"{REPOSITORIES}/payments/repo-gone/archive"
        is_problem(forge.call("PUT", path, token=forge.bot_token), 404, "no_such_repository")


class TestProtection:
    BODY: dict[str, Any] = {"branch": "main", "requiredApprovals": 1, "marker": MARKER}

    def test_it_is_set_read_and_removed(self, repository: SomeRepository) -> None:
        forge, bot = repository.forge, repository.forge.bot_token
        path = f"{repository.path}/protection/main"
        is_problem(forge.call("GET", path, token=bot), 404, "no_such_protection")
        for _ in range(2):
            assert forge.call("PUT", path, token=bot, json=self.BODY).json() == self.BODY
        assert forge.call("GET", path, token=bot).json() == self.BODY
        assert forge.call("GET", repository.path, token=bot).json()["protections"] == [self.BODY]
        assert forge.call("DELETE", path, token=bot).status_code == 204
        is_problem(forge.call("DELETE", path, token=bot), 404, "no_such_protection")

    def test_branches_with_slashes_have_one_too(self, repository: SomeRepository) -> None:
        forge = repository.forge
        path = f"{repository.path}/protection/{quote('release/1.0', safe='')}"
        body = {**self.BODY, "branch": "release/1.0"}
        assert forge.call("PUT", path, token=forge.bot_token, json=body).status_code == 200
        assert forge.call("GET", path, token=forge.bot_token).json() == body

    def test_address_and_body_agree(self, repository: SomeRepository) -> None:
        forge = repository.forge
        path = f"{repository.path}/protection/other"
        answer = forge.call("PUT", path, token=forge.bot_token, json=self.BODY)
        is_problem(answer, 422, "branch_mismatch")

    def test_approvals_it_cannot_count_are_refused(self, repository: SomeRepository) -> None:
        forge = repository.forge
        body = {**self.BODY, "requiredApprovals": 2}
        path = f"{repository.path}/protection/main"
        answer = forge.call("PUT", path, token=forge.bot_token, json=body)
        is_problem(answer, 422, "too_many_approvals")

    def test_people_do_not_change_it(self, repository: SomeRepository, maintainer: str) -> None:
        path = f"{repository.path}/protection/main"
        for method, body in (("PUT", self.BODY), ("DELETE", None)):
            answer = repository.forge.call(method, path, token=maintainer, json=body)
            is_problem(answer, 403, "platform_only")


class TestTokens:
    @pytest.mark.parametrize(
        "authorization",
        ["", "Bearer", "Basic eDp5", "Bearer idp_pat_unknown", "Bearer " + "x" * 600],
    )
    def test_nobody_known_gets_nothing(self, forge: ForgeServer, authorization: str) -> None:
        headers = {"Authorization": authorization}
        answer = forge.call("GET", REPOSITORIES, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"

    def test_git_is_asked_for_a_password(self, repository: SomeRepository) -> None:
        path = f"/payments/{repository.name}.git/info/refs?service=git-upload-pack"
        answer = repository.forge.call("GET", path)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Basic ")

    def test_health_and_metrics_are_open_and_private(self, repository: SomeRepository) -> None:
        for path in ("/healthz", "/readyz", "/metrics"):
            answer = repository.forge.call("GET", path)
            assert answer.status_code == 200
            assert repository.name not in answer.text

    def test_a_revoked_token_stops_within_seconds_and_is_not_asked_for_each_time(
        self, forge: ForgeServer, people: KnownPeople
    ) -> None:
        token = people.add("gone", payments="team-viewer")
        asked = people.asked
        for _ in range(3):
            assert forge.call("GET", REPOSITORIES, token=token).status_code == 200
        assert people.asked == asked + 1
        people.revoke(token)
        deadline = time.monotonic() + 6
        while forge.call("GET", REPOSITORIES, token=token).status_code != 401:
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def test_without_the_control_plane_nobody_new_gets_in(
        self, forge: ForgeServer, people: KnownPeople
    ) -> None:
        token = people.add("new", payments="team-viewer")
        people.broken = True
        try:
            answer = forge.call("GET", REPOSITORIES, token=token)
            is_problem(answer, 503, "control_plane_unavailable")
            assert answer.headers["retry-after"] == "5"
            assert forge.call("GET", REPOSITORIES, token=forge.bot_token).status_code == 200
        finally:
            people.broken = False


class TestOddCallers:
    @pytest.mark.parametrize(
        "path",
        [
            "/api/v1/repositories/payments/..%2f..%2fetc",
            "/api/v1/repositories/%2e%2e/x",
            "/api/v1/repositories/payments/a%00b",
            "/api/v1/repositories/payments/%F0%9F%98%80",
            "/api/v1/repositories/payments/%ff%fe",
            "/api/v1/repositories/payments/-x",
            "/api/v1/repositories/payments/" + "x" * 5000,
            "/api/v1/repositories/payments/nothing/protection/..%2f..%2fHEAD",
            "/api/v1/repositories/payments/nothing/protection/a%2f%2fb",
            "/payments/..%2f..%2fx.git/info/refs?service=git-upload-pack",
            "/payments/nothing.git/info/refs?service=git-upload-pack",
            "/payments/nothing.git/info/refs?service=--exec",
            "/payments/nothing.git/info/refs",
            "/payments/nothing.git/HEAD",
            "/payments/--upload-pack=x.git/info/refs?service=git-upload-pack",
        ],
    )
    def test_odd_addresses_are_problems(self, forge: ForgeServer, path: str) -> None:
        answer = forge.call("GET", path, token=forge.bot_token)
        assert answer.status_code in (404, 422), answer.text
        assert answer.headers["content-type"] == "application/problem+json"

    @pytest.mark.parametrize(
        "change",
        [
            {"name": "../x"},
            {"name": "-x"},
            {"name": "x\u0000y"},
            {"name": "\U0001f600"},
            {"name": "x.git"},
            {"owner": "Pay Ments"},
            {"owner": ".."},
            {"defaultBranch": "-x"},
            {"defaultBranch": "a/../../../b"},
            {"defaultBranch": "a.lock"},
            {"marker": None},
            {"unknown": 1},
        ],
    )
    def test_odd_names_are_refused(self, forge: ForgeServer, change: dict[str, Any]) -> None:
        answer = forge.call("POST", REPOSITORIES, token=forge.bot_token, json=wanted(**change))
        is_problem(answer, 422, "invalid_input")

    def test_a_huge_or_broken_body_is_a_problem(self, forge: ForgeServer) -> None:
        huge = forge.call("POST", REPOSITORIES, token=forge.bot_token, content=b"x" * 10**6)
        is_problem(huge, 413, "body_too_large")
        headers = {"Content-Type": "application/json"}
        broken = forge.call(
            "POST", REPOSITORIES, token=forge.bot_token, content=b"{", headers=headers
        )
        is_problem(broken, 400, "malformed_json")

    @pytest.mark.parametrize(
        ("headers", "content", "status"),
        [
            ({"Content-Type": "text/plain"}, b"", 415),
            ({"Content-Encoding": "br"}, b"", 415),
            ({"Content-Encoding": "gzip"}, b"no gzip", 422),
            ({}, b"zzzz no packet", 200),
            ({}, b"", 200),
        ],
    )
    @pytest.mark.parametrize("service", ["git-upload-pack", "git-receive-pack"])
    def test_what_is_no_git_does_no_harm(
        self,
        repository: SomeRepository,
        service: str,
        headers: dict[str, str],
        content: bytes,
        status: int,
    ) -> None:
        forge = repository.forge
        headers = {"Content-Type": f"application/x-{service}-request", **headers}
        answer = forge.call(
            "POST",
            f"/payments/{repository.name}.git/{service}",
            token=forge.bot_token,
            headers=headers,
            content=content,
        )
        assert answer.status_code == status, answer.text
        assert repository.head() == repository.seed

    def test_a_client_that_goes_away_during_a_push_leaves_nothing(
        self, repository: SomeRepository
    ) -> None:
        forge = repository.forge
        connection = http.client.HTTPConnection(LOOPBACK, forge.port)
        connection.putrequest("POST", f"/payments/{repository.name}.git/git-receive-pack")
        connection.putheader("Authorization", f"Bearer {forge.bot_token}")
        connection.putheader("Content-Type", "application/x-git-receive-pack-request")
        connection.putheader("Content-Length", "100000")
        connection.endheaders(b"0094")
        connection.close()
        repository.bot.commit("a.txt", "a")
        assert repository.bot.push("HEAD:main").returncode == 0
        objects = forge.data_dir / "repositories" / "payments" / f"{repository.name}.git/objects"
        assert not list(objects.glob("*incoming*"))

    def test_a_client_that_goes_away_during_a_fetch_leaves_no_process(
        self, repository: SomeRepository
    ) -> None:
        forge = repository.forge
        (repository.bot.path / "big.bin").write_bytes(secrets.token_bytes(8_000_000))
        head = repository.bot.commit("a.txt", "a")
        assert repository.bot.push("HEAD:main").returncode == 0
        body = f"0032want {head}\n00000009done\n".encode()
        with socket.create_connection((LOOPBACK, forge.port)) as connection:
            connection.sendall(
                f"POST /payments/{repository.name}.git/git-upload-pack HTTP/1.1\r\n"
                f"Host: {LOOPBACK}\r\nAuthorization: Bearer {forge.bot_token}\r\n"
                "Content-Type: application/x-git-upload-pack-request\r\n"
                f"Content-Length: {len(body)}\r\n\r\n".encode()
                + body
            )
            assert connection.recv(100).startswith(b"HTTP/1.1 200")
        forge_process = psutil.Process(forge.process.pid)
        deadline = time.monotonic() + 10
        while forge_process.children():
            assert time.monotonic() < deadline
            time.sleep(0.02)
