"""What a failed judgement becomes: nobody gains by a failure, and nobody loses by one that is not his."""

from __future__ import annotations

from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from open_instruct_flip.errors import FlipError, UsageError
from open_instruct_flip.failures.config import FailureConfig
from open_instruct_flip.failures.rates import failure_rates
from open_instruct_flip.failures.stand_ins import stand_ins
from open_instruct_flip.rewards import REPLY_FAILURES, REQUEST_FAILURES, FailureKind, Reward

CALL = sorted(set(FailureKind) - REPLY_FAILURES)
REPLY = sorted(REPLY_FAILURES)
SCORES = st.lists(st.floats(0, 1), min_size=1, max_size=6)


def failed(kind):
    return Reward(error=kind, detail=f"detail of {kind}")


def scored(*scores):
    return [Reward(score=score) for score in scores]


@pytest.mark.parametrize("kind", REPLY)
def test_a_reply_that_can_not_be_read_never_pays(kind):
    rewards = [*scored(0.2, 0.9, 0.4), failed(kind)]
    assert stand_ins(rewards, FailureConfig(), 0.5) == [0.2, 0.9, 0.4, 0.2]


@pytest.mark.parametrize("kind", CALL)
def test_a_failed_call_is_no_advantage(kind):
    rewards = [*scored(0.25, 0.75), failed(kind)]
    assert stand_ins(rewards, FailureConfig(), 0.9) == [0.25, 0.75, 0.5]


@given(SCORES, st.lists(st.sampled_from(FailureKind), max_size=6))
def test_in_any_mixture_a_call_moves_nothing_and_a_reply_gains_nothing(scores, kinds):
    rewards = [*scored(*scores), *map(failed, kinds)]
    given_scores = stand_ins(rewards, FailureConfig(), 0.5)
    mean = fmean(given_scores)
    for reward, score in zip(rewards, given_scores, strict=True):
        if reward.score is not None:
            assert score == reward.score
        elif reward.error in REPLY_FAILURES:
            assert score == min(scores)
        else:
            assert score == pytest.approx(mean)


@pytest.mark.parametrize("kinds", [("timeout",), ("unreadable_reply", "timeout"), ("unscorable_instruction",) * 3])
def test_a_group_without_any_score_teaches_nothing(kinds):
    rewards = [failed(FailureKind(kind)) for kind in kinds]
    assert stand_ins(rewards, FailureConfig(), 0.3) == [0.3] * len(kinds)
    assert stand_ins(rewards, FailureConfig(), None) == [None] * len(kinds)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"on_failure": "zero"}, [0.2, 0.6, 0.0, 0.2]),
        ({"on_unreadable": "zero"}, [0.2, 0.6, pytest.approx(0.8 / 3), 0.0]),
        ({"on_unreadable": "group_mean"}, [0.2, 0.6, 0.4, 0.4]),
        ({"on_unreadable": "zero", "on_failure": "zero"}, [0.2, 0.6, 0.0, 0.0]),
    ],
)
def test_other_rules_can_be_chosen(options, expected):
    rewards = [*scored(0.2, 0.6), failed(FailureKind.TIMEOUT), failed(FailureKind.EMPTY_REPLY)]
    assert stand_ins(rewards, FailureConfig(**options), 0.5) == expected


@pytest.mark.parametrize(
    ("option", "kind"), [("on_failure", FailureKind.TIMEOUT), ("on_unreadable", FailureKind.UNREADABLE_REPLY)]
)
def test_raise_names_the_option_and_the_failure_and_spares_the_other_kind(option, kind):
    config = FailureConfig(**{option: "raise"})
    with pytest.raises(FlipError, match=f"--{option} is raise: {kind}: detail of {kind}"):
        stand_ins([*scored(0.5), failed(kind)], config, 0.5)
    other = FailureKind.TIMEOUT if option == "on_unreadable" else FailureKind.UNREADABLE_REPLY
    assert stand_ins([*scored(0.5), failed(other)], config, 0.5) == [0.5, 0.5]


def test_no_reward_no_stand_in():
    assert stand_ins([], FailureConfig(), 0.5) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"on_failure": "group_lowest"}, "--on_failure is one of group_mean, zero, raise, got 'group_lowest'"),
        ({"on_unreadable": "ignore"}, "--on_unreadable"),
        ({"failure_window": 0}, "--failure_window must be above 0, got 0"),
        ({"max_failure_rate": 1.5}, "--max_failure_rate"),
        ({"max_failure_rate": float("nan")}, "--max_failure_rate"),
        ({"outage_timeout_s": -1}, "--outage_timeout_s"),
        ({"outage_timeout_s": float("inf")}, "--outage_timeout_s"),
    ],
)
def test_impossible_options_are_refused_by_name(options, words):
    with pytest.raises(UsageError, match=words):
        FailureConfig(**options)


def test_both_rates_stand_apart():
    kinds = (FailureKind.TIMEOUT, FailureKind.CONTEXT_OVERFLOW, FailureKind.UNSCORABLE_INSTRUCTION)
    rates = failure_rates([*scored(1.0), *map(failed, kinds)])
    assert rates == {"failure_rate": 0.75, "request_failure_rate": 0.25, "parse_failure_rate": 0.25}
    assert set(failure_rates([]).values()) == {0.0}
    assert not REQUEST_FAILURES & REPLY_FAILURES
