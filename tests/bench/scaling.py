"""How far more processes bring it: workers at each broker, replicas of the API behind a proxy, and
what each program costs a request.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from itertools import cycle
from pathlib import Path
from typing import Any

from idp_kernel.services import LOOPBACK
from tests.bench.api import Api, all_taken, prepared_pairs, query_paths, running_api
from tests.bench.comparing import stub_worker
from tests.bench.contender import SLOTS
from tests.bench.contenders.platform import (
    APPLICATIONS,
    BROKER_VARIABLE,
    ENVIRONMENTS,
    TEAMS,
    UNLIMITED,
    WORKERS_URL_VARIABLE,
    PlatformClient,
    StartedPlatform,
    WholePlatform,
    started_platform,
)
from tests.bench.figures import spread
from tests.bench.load import CONNECTIONS, Call, as_fast_as_answered
from tests.bench.measuring import Plan, Requests, saturate, throughput
from tests.bench.processes import running, wait_until
from tests.bench.usage import cpu_seconds
from tests.fixtures.stack import free_port, private_directory

REDIS, NGINX = "redis-server", "nginx"
"""Debian's packages have these names, too."""
START_SECONDS = 20.0


class Broker(StrEnum):
    """What carries runs to the workers."""

    POSTGRESQL = "postgresql"
    REDIS = "redis"


@dataclass(frozen=True)
class ScalingPlan:
    """What is tried, and for how long."""

    workers: tuple[tuple[Broker, int], ...]
    answer_seconds: float
    """What providers take for each call; with none, the machine would be the only limit."""
    saturation_seconds: float
    replicas: tuple[int, ...]
    api_seconds: float
    commands_per_second: int
    """At most: what is prepared for."""
    patience_seconds: float = 120.0

    @property
    def at_saturation(self) -> Plan:
        most = max(number for _, number in self.workers)
        return Plan(
            warm_up_requests=SLOTS,
            saturation_seconds=self.saturation_seconds,
            outstanding=3 * SLOTS * most,
            idle_requests=0,
            half_load_seconds=0.0,
            patience_seconds=self.patience_seconds,
        )


FULL = ScalingPlan(
    workers=(
        (Broker.POSTGRESQL, 1), (Broker.REDIS, 1), (Broker.REDIS, 2), (Broker.REDIS, 4),
    ),
    answer_seconds=0.5,
    saturation_seconds=60,
    replicas=(1, 2),
    api_seconds=10,
    commands_per_second=800,
)  # fmt: skip
SHORT = ScalingPlan(
    workers=((Broker.REDIS, 2),),
    answer_seconds=0.1,
    saturation_seconds=8,
    replicas=(2,),
    api_seconds=1,
    commands_per_second=400,
)


def measure_scaling(
    plan: ScalingPlan, port_offset: int, say: Callable[[str], None]
) -> Mapping[str, Any]:
    """The part `scaling` of the results."""
    workers = {}
    for broker, number in plan.workers:
        say(f"workers: {number}, their broker {broker} …")
        workers[f"{broker}_{number}"] = measure_workers(broker, number, plan, port_offset)
    replicas = {}
    for number in plan.replicas:
        say(f"replicas of the API behind a proxy: {number} …")
        replicas[str(number)] = measure_replicas(number, plan)
    return {
        "answer_seconds": plan.answer_seconds,
        "slots_of_a_worker": SLOTS,
        "connections": CONNECTIONS,
        "workers": workers,
        "replicas": replicas,
    }


# --------------------------------------------------------------------------- workers


def measure_workers(
    broker: Broker, number: int, plan: ScalingPlan, port_offset: int
) -> dict[str, Any]:
    """The whole platform with so many workers, at saturation."""
    with private_directory("idp-bench-scaling-") as folder, ExitStack() as stack:
        calls = stack.enter_context(stub_worker(folder, plan.answer_seconds))
        changed: dict[str, str | int] = {WORKERS_URL_VARIABLE: calls.url, **UNLIMITED}
        if broker is Broker.REDIS:
            changed[BROKER_VARIABLE] = stack.enter_context(redis(folder))
        platform = stack.enter_context(
            started_platform(folder, port_offset, changed, workers=number)
        )
        contender = WholePlatform(platform, stack.enter_context(closing(PlatformClient(platform))))
        contender.prepare(teams=TEAMS, applications=APPLICATIONS, environments=ENVIRONMENTS)
        warm_up = Requests(contender, calls)
        warm_up.submit(SLOTS * number)
        warm_up.await_finished(plan.patience_seconds, ask_every_seconds=0.2)
        before = _used(platform)
        saturated = saturate(contender, calls, plan.at_saturation)
        saturated.await_finished(plan.patience_seconds, ask_every_seconds=0.2)
        used = _used(platform)
        requests = len(saturated.accepted)
        rate, _ = throughput(list(saturated.finished.values()), plan.at_saturation.outstanding)
        return {
            "runs_per_minute": rate,
            "requests": requests,
            "cpu_seconds_per_request": {
                name: (seconds - before.get(name, 0.0)) / requests
                for name, seconds in sorted(used.items())
            },
        }


def _used(platform: StartedPlatform) -> dict[str, float]:
    """CPU seconds by program; all workers count as one."""
    found: dict[str, float] = {}
    for name, seconds in platform.cpu_seconds_by_program().items():
        kind = "worker" if name.startswith("worker-") else name
        found[kind] = found.get(kind, 0.0) + seconds
    return found


@contextmanager
def redis(folder: Path) -> Iterator[str]:
    """A Redis that keeps nothing on disk; its URL."""
    port = free_port()
    options = ("--bind", LOOPBACK, "--port", str(port), "--save", "", "--appendonly", "no")
    with running((_program(REDIS), *options), {}, folder / "redis.log") as process:
        wait_until(
            lambda: b"Ready to accept connections" in (folder / "redis.log").read_bytes(),
            seconds=START_SECONDS,
            what=REDIS,
            processes=[process],
        )
        yield f"redis://{LOOPBACK}:{port}/0"


# ---------------------------------------------------------------------------- the API


def measure_replicas(number: int, plan: ScalingPlan) -> dict[str, Any]:
    """Commands, then queries, as fast as they are answered; also without the proxy where there is
    but one process to call.
    """
    with private_directory("idp-bench-replicas-") as folder, running_api(folder, number) as api:
        wanted = int(plan.commands_per_second * plan.api_seconds * (1 if number > 1 else 2))
        pairs = iter(list(prepared_pairs(api, wanted)))
        commands = (
            api.command(f"/v1/applications/{application}/environments", {"environment": slug})
            for application, slug in pairs
        )
        found: dict[str, Any] = {}
        ways: dict[str, AbstractContextManager[int]] = {
            "behind_the_proxy": proxy(folder, api.own_ports)
        }
        if number == 1:
            ways = {"directly": nullcontext(api.port), **ways}
        for way, entered in ways.items():
            with entered as port:
                called = replace(api, port=port)
                measured = {"commands": _at_full_speed(called, commands, plan.api_seconds)}
                paths = query_paths(api)["one_request"]
                queries = cycle([api.query(each) for each in paths])
                measured["queries"] = _at_full_speed(called, queries, plan.api_seconds)
                found[way] = measured
        return found


def _at_full_speed(api: Api, calls: Iterator[Call], seconds: float) -> dict[str, Any]:
    cpu, began = cpu_seconds(api.pids), time.monotonic()
    answered = as_fast_as_answered(api.port, calls, seconds=seconds)
    took = time.monotonic() - began  # less than the seconds when the calls were soon used up
    all_taken(answered)
    return {
        "per_second": len(answered) / took,
        "seconds": asdict(spread([each.seconds for each in answered])),
        "cpu_seconds_per_call": (cpu_seconds(api.pids) - cpu) / len(answered),
    }


@contextmanager
def proxy(folder: Path, ports: Sequence[int]) -> Iterator[int]:
    """An nginx before servers on these ports, with connections that are kept; its own port."""
    port = free_port()
    home = folder / "nginx"
    home.mkdir(exist_ok=True)
    (home / "nginx.conf").write_text(
        NGINX_CONFIGURATION.format(
            home=home,
            servers="".join(f"server {LOOPBACK}:{each}; " for each in ports),
            host=LOOPBACK,
            port=port,
        )
    )
    command = (_program(NGINX), "-p", str(home), "-c", str(home / "nginx.conf"))
    with running((*command, "-e", str(home / "error.log")), {}, folder / "nginx.log") as process:
        wait_until(
            (home / "nginx.pid").exists,
            seconds=START_SECONDS,
            what=NGINX,
            processes=[process],
        )
        yield port


NGINX_CONFIGURATION = """\
daemon off;
worker_processes 1;
pid {home}/nginx.pid;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;
    keepalive_requests 1000000;
    upstream api {{ {servers}keepalive 64; keepalive_requests 1000000; }}
    server {{
        listen {host}:{port};
        location / {{
            proxy_pass http://api;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
    }}
}}
"""


def _program(name: str) -> str:
    """Where it is; raises `FileNotFoundError` that says how it comes there."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if found is None:
        raise FileNotFoundError(f"{name} is not there: run tests/system/install.sh")
    return found
