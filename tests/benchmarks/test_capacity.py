"""The arithmetic of capacity, what judges send against it, and the simulation of judges that fail."""

import asyncio
from dataclasses import replace

import pytest
import simpy
from counted import counted
from judge_load import Fault, Scenario
from simulated import SimulatedLoop, simulate
from sizing import COSTS, Cost, Plan, Rollouts

QUIET = Scenario(servers=4, slots=4, service_s=1.0, in_flight=20, duration_s=60.0)
PLAN = Plan(rollouts_per_s=700.0, cost=Cost(1, 500, 20), read_per_s=50_000, write_per_s=2_000)


def test_endpoints_and_processes_are_those_of_the_sums():
    assert PLAN.endpoint_per_s == pytest.approx(50)  # 0.01 s of reading and 0.01 s of writing for a rollout
    assert PLAN.endpoints == 20
    assert PLAN.in_flight == 700
    assert PLAN.processes == 3
    assert replace(PLAN, max_concurrency=100_000, cpu_s=0.002).processes == 2
    assert replace(PLAN, cost=Cost(2, 1000, 40)).endpoints == 40


@pytest.mark.parametrize(
    ("changed", "endpoints", "processes", "limit"),
    [
        ({}, 20, 3, ("trainer", 700.0)),
        ({}, 10, 3, ("endpoints", 500.0)),
        ({}, 20, 1, ("max_concurrency", 256.0)),
        ({"cpu_s": 0.01}, 20, 3, ("client CPU", 300.0)),
    ],
)
def test_the_bottleneck_is_the_lowest_limit(changed, endpoints, processes, limit):
    name, per_s = replace(PLAN, **changed).bottleneck(endpoints, processes)
    assert (name, per_s) == (limit[0], pytest.approx(limit[1]))


class Words:
    """A tokenizer of which each word is a token."""

    def apply_chat_template(self, messages, **_):
        return " ".join(message["content"] for message in messages)

    def __call__(self, text, **_):
        return {"input_ids": [hash(word) for word in text.split()]}


@pytest.mark.parametrize("judge", COSTS)
async def test_judges_send_what_the_arithmetic_says(judge):
    """Of two lengths of responses, so that what is the prompt's own falls out."""
    size, sent = 4, []
    for words in (20, 120):
        responses = [f"{number} " + "word " * (words - 1) for number in range(size)]
        sent.append(await counted(judge, [("do this and that", responses)], Words(), size))
    short, long = (COSTS[judge](Rollouts(size, response=words), 50.0) for words in (20, 120))
    assert sent[0].requests == sent[1].requests == short.requests * size
    assert sent[1].prompt_tokens - sent[0].prompt_tokens == size * (long.prompt_tokens - short.prompt_tokens)


@pytest.mark.parametrize(
    "scenario",
    [
        QUIET,
        replace(QUIET, in_flight=10),
        replace(QUIET, processes=4, in_flight=12, spread=0.5, duration_s=200.0),
        replace(QUIET, servers=100, slots=1, in_flight=100, processes=2, duration_s=20.0),
    ],
)
def test_without_faults_the_rate_is_the_limit_of_slots_or_rollouts(scenario):
    figures = simulate(scenario).figures()
    assert figures["rollouts/s"] == pytest.approx(scenario.limit_per_s, rel=0.02)
    assert figures["failed %"] == 0


def test_the_clients_cpu_limits_the_rate():
    assert simulate(QUIET, cpu_s=0.1).figures()["rollouts/s"] == pytest.approx(10, rel=0.02)


ONE = [Fault(10, 0, "kill"), Fault(40, 0, "start")]
ALL = [fault for number in range(4) for fault in (Fault(10, number, "kill"), Fault(30, number, "start"))]


@pytest.mark.parametrize("faults", [ONE, ALL, [Fault(10, 3, "hang"), Fault(50, 3, "wake")], [Fault(10, 1, "slow")]])
def test_no_rollout_is_lost_and_each_ends_within_its_attempts(faults):
    scenario = replace(QUIET, faults=faults, timeout_s=8.0)
    outcome = simulate(scenario)
    longest_s = 4 * 8.0 + (1 + 2 + 4)
    assert all(0 < rollout.ended_s - rollout.began_s <= longest_s for rollout in outcome.rollouts)
    begun_first = [rollout for rollout in outcome.rollouts if rollout.began_s == 0]
    ended_last = [rollout for rollout in outcome.rollouts if rollout.ended_s >= scenario.duration_s]
    assert len(begun_first) == len(ended_last) == scenario.in_flight
    assert (outcome.figures()["failed %"] > 0) == (faults is ALL)


def test_the_same_seed_gives_the_same_run():
    scenario = replace(QUIET, spread=0.5, faults=ONE)
    assert simulate(scenario, seed=3) == simulate(scenario, seed=3)
    assert simulate(scenario, seed=3) != simulate(scenario, seed=4)


def test_when_deaths_and_returns_are_seen():
    seen = simulate(replace(QUIET, processes=3, in_flight=7, faults=ONE)).delays_s
    assert seen["kill"] < 4
    assert 0 < seen["start"] < 16 + 1.5 + 4
    assert seen["hang"] is seen["wake"] is None


def test_processes_with_few_rollouts_under_way_use_all_endpoints():
    scenario = replace(QUIET, servers=20, processes=10, in_flight=3, duration_s=30.0)
    assert simulate(scenario).figures()["rollouts/s"] > 0.8 * scenario.limit_per_s


def test_many_that_die_together_under_light_load_cost_no_rollout():
    faults = [Fault(10, number, "kill") for number in range(8)]
    scenario = replace(QUIET, servers=60, in_flight=30, processes=2, duration_s=20.0, spread=0.5, faults=faults)
    assert simulate(scenario).figures()["failed %"] == 0


def test_silent_endpoints_cost_a_rollout_one_time_limit_and_not_one_for_each_trial():
    faults = [Fault(10, number, "hang") for number in range(2)]
    outcome = simulate(replace(QUIET, processes=4, in_flight=5, duration_s=150.0, timeout_s=20.0, faults=faults))
    assert outcome.figures()["longest s"] < 2 * 20
    late = [rollout for rollout in outcome.rollouts if rollout.began_s > 60]
    assert max(rollout.ended_s - rollout.began_s for rollout in late) < 10


def test_the_loop_keeps_simulated_time_and_its_order():
    async def work():
        order = []
        late, soon = asyncio.create_task(note(order, 5, "late")), asyncio.create_task(note(order, 1, "soon"))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                await late
        await soon
        return order, asyncio.get_running_loop().time()

    async def note(order, delay_s, name):
        await asyncio.sleep(delay_s)
        order.append(name)

    assert SimulatedLoop(simpy.Environment()).run(work()) == (["soon"], 2.0)


def test_what_fails_unseen_in_a_simulation_is_told():
    async def work():
        asyncio.get_running_loop().call_later(1, lambda: 1 / 0)
        await asyncio.sleep(2)

    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        SimulatedLoop(simpy.Environment()).run(work())
