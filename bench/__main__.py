"""Benchmark the service against the floor, a minimal program, and print tables of results."""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.servers import Failed, Server, bare_floor, databases, machine_busy_seconds, service

SCRIPT = Path(__file__).with_name("load.lua")
DATABASES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}
CASES = {
    "post": "POST /meetings, unique ids",
    "replay": "POST /meetings, replays",
    "list": "GET /leads/{id}/meetings, a list of 20",
}
NO_WRK = "wrk, the load generator, is not installed: apt install wrk, or brew install wrk"

Result = dict[str, float]


def read_arguments() -> argparse.Namespace:
    """Parse the command line: what to measure and for how long."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--databases", default=",".join(DATABASES), metavar="A,B")
    parser.add_argument("--cases", default=",".join(CASES), metavar="A,B")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=6, help="of load in each round")
    parser.add_argument(
        "--warm-up", type=int, default=1, help="seconds of unmeasured load before each round"
    )
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--leads", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--folder", default="/var/tmp", help="where to create the databases; must be on a disk"
    )
    parser.add_argument(
        "--also",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="also benchmark the service with this setting; may be repeated",
    )
    arguments = parser.parse_args()
    for chosen, known in ((arguments.databases, DATABASES), (arguments.cases, CASES)):
        if unknown := set(chosen.split(",")) - set(known):
            parser.error(f"{', '.join(sorted(unknown))}: choose from {', '.join(known)}")
    return arguments


def load(
    server: Server, case: str, run: str, seconds: int, arguments: argparse.Namespace
) -> Result:
    """Load a server for some seconds; returns wrk's figures, the CPU time and the memory used."""
    what = [f"/api/public{server.list_path}"] if case == "list" else [str(arguments.leads), run]
    program = ["wrk", "-t1", f"-c{arguments.connections}", f"-d{seconds}", "--timeout=30"]
    program += [f"-s{SCRIPT}", f"http://127.0.0.1:{server.port}", "--", case, server.key, *what]
    before, busy_before, wrk_before = server.cpu_seconds(), machine_busy_seconds(), _children()
    began = time.monotonic()
    printed = subprocess.run(program, check=True, stdout=subprocess.PIPE, text=True).stdout
    took = time.monotonic() - began
    after, busy = server.cpu_seconds(), machine_busy_seconds() - busy_before
    result: Result = json.loads(printed.partition("result ")[2].splitlines()[0])
    used = [after[0] - before[0], after[1] - before[1]]
    others = busy - sum(used) - (_children() - wrk_before)
    requests = max(result["requests"], 1)
    return {
        **result,
        "rate": result["requests"] / result["seconds"],
        "cpu_ms": sum(used) / requests * 1000,
        "database_cpu_ms": used[1] / requests * 1000,
        "memory_mib": server.memory_mib(),
        "others": max(others, 0) / took / (os.cpu_count() or 1),
    }


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(servers: list[Server], arguments: argparse.Namespace) -> dict[str, Any]:
    """Load the servers in turn, in reverse order every second round: case → server → results."""
    cases = arguments.cases.split(",")
    results: dict[str, Any] = {case: {server.name: [] for server in servers} for case in cases}
    for number in range(arguments.rounds):
        for case in cases:
            for server in servers[:: -1 if number % 2 else 1]:
                if arguments.warm_up:
                    load(server, case, f"warm-{number}", arguments.warm_up, arguments)
                result = load(server, case, f"run-{number}", arguments.seconds, arguments)
                results[case][server.name].append(result)
                progress = (
                    f"round {number + 1}, {case}, {server.name}: {result['rate']:.0f} requests/s"
                )
                print(progress, file=sys.stderr, flush=True)
    return results


def table(title: str, results: dict[str, list[Result]]) -> Iterator[str]:
    """Yield the lines of a Markdown table of medians; ratios are relative to the first server."""
    yield f"\n**{title}**\n"
    yield (
        "| server | requests/s | rounds | ratio to floor | p50 ms | p99 ms | CPU ms a request"
        " | of that, database | CPU ratio to floor | PSS MiB | other CPU % | errors |"
    )
    yield "| --- |" + " ---: |" * 11
    floor = next(iter(results.values()))
    for name, rounds in results.items():
        mid = {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}
        rates = sorted(one["rate"] for one in rounds)
        ratios = [
            mid[key] / statistics.median(one[key] for one in floor) for key in ("rate", "cpu_ms")
        ]
        errors = sum(one["refused"] + one["broken"] for one in rounds)
        yield (
            f"| {name} | {mid['rate']:.0f} | {rates[0]:.0f} to {rates[-1]:.0f} | {ratios[0]:.2f}"
            f" | {mid['p50_ms']:.1f} | {mid['p99_ms']:.1f} | {mid['cpu_ms']:.2f}"
            f" | {mid['database_cpu_ms']:.2f} | {ratios[1]:.2f} | {mid['memory_mib']:.0f}"
            f" | {mid['others'] * 100:.0f} | {errors:.0f} |"
        )


def run(kind: str, folder: Path, arguments: argparse.Namespace) -> None:
    """Benchmark on one kind of database and print a table for each case."""
    workers = {"WEB_CONCURRENCY": str(arguments.workers)}
    with ExitStack() as stack:
        create, pid = stack.enter_context(databases(kind, folder))
        starts = [("floor", bare_floor, workers), ("service", service, workers)]
        for setting in arguments.also:
            name, _, value = setting.partition("=")
            starts.append((f"service, {setting}", service, workers | {name: value}))
        servers = [
            stack.enter_context(start(name, create(), pid, arguments.leads, settings))
            for name, start, settings in starts
        ]
        for case, results in measure(servers, arguments).items():
            title = f"{DATABASES[kind]}, {CASES[case]}, {arguments.connections} connections"
            print("\n".join(table(title, results)), flush=True)


def main() -> None:
    """Run the benchmark; a missing program or a failed server ends it with one line."""
    arguments = read_arguments()
    if shutil.which("wrk") is None:
        raise SystemExit(NO_WRK)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=arguments.folder) as folder:
        for kind in arguments.databases.split(","):
            try:
                run(kind, Path(folder), arguments)
            except Failed as failed:
                raise SystemExit(str(failed)) from None


if __name__ == "__main__":
    main()
