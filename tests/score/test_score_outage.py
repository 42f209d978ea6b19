"""A judge that goes on failing: the run waits, stops and keeps what it has; the next one judges what failed."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from judge_double import JudgeDouble
from scored import command, read_jsonl, without_latency

from open_instruct_flip.commands.main import run

NUM_ROWS = 60
Start = Callable[..., JudgeDouble]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    rows = [{"prompt": f"write about soil {n}", "responses": [f"soil {n}", f"loam {n}"]} for n in range(NUM_ROWS)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@contextmanager
def gateway(url: str, num_forwarded: int) -> Iterator[str]:
    """A proxy that forwards so many chat requests, then resets each further one; `/models` works all the time."""
    host, port = url.removeprefix("http://").removesuffix("/v1").split(":")
    loop = asyncio.new_event_loop()
    left = num_forwarded

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal left
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, OSError):
            writer.close()
            return
        if head.startswith(b"POST"):
            left -= 1
            if left < 0:
                writer.transport.abort()
                return
        up_reader, up_writer = await asyncio.open_connection(host, int(port))
        up_writer.write(head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        await asyncio.gather(pump(reader, up_writer), pump(up_reader, writer))

    async def start() -> asyncio.Server:
        return await asyncio.start_server(serve, "127.0.0.1", 0)

    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(start(), loop).result()
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    loop.call_soon_threadsafe(server.close)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def wanted(source: Path, double: JudgeDouble) -> list[dict[str, Any]]:
    out = source.with_name("wanted.jsonl")
    assert run(command(source, out, double.api_base)) == 0
    return without_latency(read_jsonl(out))


def check_stopped_and_kept(
    source: Path, double: JudgeDouble, url: str, capfd: pytest.CaptureFixture[str], options: Sequence[str] = ()
) -> None:
    """A run behind a failing judge keeps its rewards and ends with 1; the next one judges the rest, once."""
    expected, out = wanted(source, double), source.with_name("out.jsonl")
    capfd.readouterr()
    assert run(command(source, out, url, options=options)) == 1
    error = capfd.readouterr().err.splitlines()[-1]
    assert "for 2 s (--outage_timeout_s)" in error
    assert error.endswith("the same command goes on from there")
    kept = read_jsonl(source.with_name("out.jsonl.partial"))
    assert 0 < len(kept) < len(expected)
    assert {row["error"] for row in kept} == {None}
    double.num_requests = 0
    assert run(command(source, out, double.api_base)) == 0
    assert without_latency(read_jsonl(out)) == expected
    assert double.num_requests <= len(expected) - len(kept)


@pytest.mark.parametrize("status", [502, 404, 401, 302])
def test_a_gateway_that_starts_to_refuse_is_an_outage(
    source: Path, judge_double: Start, capfd: pytest.CaptureFixture[str], status: int
) -> None:
    failing = judge_double(fault=lambda number, body: status if number >= 40 else None)
    check_stopped_and_kept(source, judge_double(), failing.api_base, capfd)


def test_a_judge_that_starts_to_reject_everything_stops_the_run_after_few_requests(
    source: Path, judge_double: Start, capfd: pytest.CaptureFixture[str]
) -> None:
    failing = judge_double(fault=lambda number, body: 400 if number >= 20 else None)
    check_stopped_and_kept(source, judge_double(), failing.api_base, capfd, ["--max_concurrency", "4"])
    assert failing.num_requests < 20 + 50


def test_a_gateway_that_starts_to_disconnect_is_an_outage(
    source: Path, judge_double: Start, capfd: pytest.CaptureFixture[str]
) -> None:
    double = judge_double()
    with gateway(double.api_base, num_forwarded=40) as url:
        check_stopped_and_kept(source, double, url, capfd)


def test_an_outage_that_ends_costs_nothing(source: Path, judge_double: Start) -> None:
    healthy = judge_double()
    expected, out = wanted(source, healthy), source.with_name("out.jsonl")
    failing = judge_double(fault=lambda number, body: 502 if 40 <= number < 120 else None)
    assert run(command(source, out, failing.api_base, options=["--outage_timeout_s", "30"])) == 0
    assert [(row["reward"], row["error"]) for row in read_jsonl(out)] == [(row["reward"], None) for row in expected]


def test_calls_that_failed_here_and_there_are_judged_again_by_the_next_run(
    source: Path, judge_double: Start, capfd: pytest.CaptureFixture[str]
) -> None:
    healthy = judge_double()
    expected, out = wanted(source, healthy), source.with_name("out.jsonl")
    failing = judge_double(fault=lambda number, body: 422 if "loam 7" in json.dumps(body) else None)
    assert run(command(source, out, failing.api_base, options=["--max_failure_rate", "0"])) == 1
    assert "of the judgements failed, more than --max_failure_rate 0 allows" in capfd.readouterr().err
    healthy.num_requests = 0
    assert run(command(source, out, healthy.api_base)) == 0
    assert without_latency(read_jsonl(out)) == expected
    assert healthy.num_requests == 2, "only the group with the failed call is judged again"
