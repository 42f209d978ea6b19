"""The partial output: cut anywhere it goes on; of other settings or rows it is refused."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from open_instruct_flip.errors import UsageError
from open_instruct_flip.judging.lines import encode
from open_instruct_flip.rewards import FailureKind, Reward, Usage
from open_instruct_flip.score.columns import output_rows
from open_instruct_flip.score.groups import ResponseGroup
from open_instruct_flip.score.output import PartialOutput

SETTINGS = {"judge": "flip", "max_tokens": 512, "keep_replies": False, "input": "100 bytes, 5fe1"}
ROWS = [
    ResponseGroup(f"row {n}", f"in:{n}", n, [], ["r"] * size, num_outputs=max(1, size))
    for n, size in enumerate((1, 3, 0, 2, 1), start=1)
]


def outputs_of(group: ResponseGroup, error: FailureKind | None = None) -> list[dict[str, Any]]:
    reward = Reward(score=0.5, inferred_instruction="día \ud800", usage=Usage(10, 2, 1), latency_s=0.1)
    if not group.responses:
        reward = Reward(error=FailureKind.INVALID_INPUT, detail="no response")
    elif error:
        reward = Reward(error=error, detail="failed")
    return output_rows(group, [reward] * group.num_outputs, keep_replies=False)


def write(
    out: Path,
    rows: list[ResponseGroup] = ROWS,
    stop_after: int | None = None,
    errors: Mapping[str, FailureKind] = {},  # never written
    **options: Any,
) -> list[ResponseGroup]:
    """A run; the rows it had to judge. Stopped early it leaves what a killed one would."""
    judged = []
    with PartialOutput(out, options.pop("settings", SETTINGS), **options) as partial:
        for row in rows:
            known = partial.kept(row)
            if known is None:
                if len(judged) == stop_after:
                    break
                judged.append(row)
                known = outputs_of(row, errors.get(str(row.id)))
            partial.append(known)
        if stop_after is None:
            assert (partial.summary.num_rows, partial.summary.num_responses) == (
                len(rows),
                sum(r.num_outputs for r in rows),
            )
            partial.finish()
    return judged


COMPLETE = b"".join(encode(output) for row in ROWS for output in outputs_of(row))


@given(st.integers(0, len(COMPLETE)), st.sampled_from([b"", b"\0" * 20, b'{"id": "row', b"null\n", b"garbage\n"]))
def test_cut_at_any_byte_it_goes_on(kept: int, tail: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out.jsonl")
        write(out, stop_after=0)
        Path(f"{out}.partial").write_bytes(COMPLETE[:kept] + tail * (kept < len(COMPLETE)))
        todo = write(out)
        assert out.read_bytes() == COMPLETE
        assert [path.name for path in Path(folder).iterdir()] == ["out.jsonl"]
        done = COMPLETE[:kept].count(b"\n")
        kept = sum(done >= end for end in (1, 4, 5, 7, 8))
        assert len(ROWS) - len(todo) == (kept if done else 0)


def test_other_settings_are_refused_with_both_values(tmp_path: Path) -> None:
    write(tmp_path / "out.jsonl", stop_after=2)
    with pytest.raises(UsageError, match=r"other settings \(max_tokens 512, now 64\); --restart"):
        write(tmp_path / "out.jsonl", settings=SETTINGS | {"max_tokens": 64})
    assert len(write(tmp_path / "out.jsonl")) == 3


def test_rows_of_an_earlier_version_are_refused_and_no_traceback(tmp_path: Path) -> None:
    old = [{name: value for name, value in output.items() if name != "copy_rate"} for output in outputs_of(ROWS[0])]
    (tmp_path / "out.jsonl.partial").write_bytes(b"".join(map(encode, old)))
    (tmp_path / "out.jsonl.partial.json").write_text(json.dumps({"judge": "flip"}))
    with pytest.raises(UsageError, match="was made with other settings"):
        write(tmp_path / "out.jsonl")


def test_settings_that_are_gone_are_not_guessed(tmp_path: Path) -> None:
    write(tmp_path / "out.jsonl", stop_after=2)
    (tmp_path / "out.jsonl.partial.json").unlink()
    with pytest.raises(UsageError, match=r"no readable out\.jsonl\.partial\.json beside it; --restart"):
        write(tmp_path / "out.jsonl")


@pytest.mark.parametrize("other", [list(reversed(ROWS)), ROWS[:1], []], ids=["order", "fewer", "none"])
def test_other_rows_are_refused(tmp_path: Path, other: list[ResponseGroup]) -> None:
    write(tmp_path / "out.jsonl", stop_after=3)
    with pytest.raises(UsageError, match="--restart throws it away"):
        write(tmp_path / "out.jsonl", other)


def test_restart_begins_anew_whatever_was_there(tmp_path: Path) -> None:
    write(tmp_path / "out.jsonl", stop_after=3)
    assert len(write(tmp_path / "out.jsonl", settings=SETTINGS | {"judge": "pointwise"}, restart=True)) == len(ROWS)
    assert (tmp_path / "out.jsonl").read_bytes() == COMPLETE


def test_two_processes_do_not_write_one_output(tmp_path: Path) -> None:
    with (
        PartialOutput(tmp_path / "out.jsonl", SETTINGS),
        pytest.raises(UsageError, match="another process is writing"),
        PartialOutput(tmp_path / "out.jsonl", SETTINGS, restart=True),
    ):
        pass


def test_half_a_surrogate_pair_survives_as_json() -> None:
    line = encode(outputs_of(ROWS[0])[0])
    assert json.loads(line)["inferred_instruction"] == "día \ud800"
    assert "día" in line.decode("utf-8")


CALL, REPLY = FailureKind.SERVER_ERROR, FailureKind.UNREADABLE_REPLY


def test_rows_whose_call_failed_are_judged_again_wherever_they_stand(tmp_path: Path) -> None:
    write(tmp_path / "out.jsonl", stop_after=4, errors={"row 2": CALL, "row 4": REPLY})
    assert [row.id for row in write(tmp_path / "out.jsonl")] == ["row 2", "row 5"]
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_bytes().splitlines()]
    assert [row["id"] for row in rows] == [row.id for row in ROWS for _ in range(row.num_outputs)]
    assert [row["error"] for row in rows] == [None] * 4 + ["invalid_input"] + ["unreadable_reply"] * 2 + [None]


@pytest.mark.parametrize(("limit", "again"), [(0.1, ["row 2", "row 4", "row 5"]), (0.9, ["row 2", "row 5"])])
def test_where_too_many_failed_replies_are_judged_again_too(tmp_path: Path, limit: float, again: list[str]) -> None:
    write(tmp_path / "out.jsonl", stop_after=4, errors={"row 2": CALL, "row 4": REPLY})
    assert [row.id for row in write(tmp_path / "out.jsonl", max_failure_rate=limit)] == again


@given(first=st.integers(0, 3), second=st.integers(0, 3), third=st.integers(0, 3))
def test_stopped_again_while_it_judges_failures_again_nothing_is_lost(first: int, second: int, third: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out.jsonl")
        judged = write(out, stop_after=4, errors={"row 2": CALL})
        for stop_after in (first, second, third):
            judged += write(out, stop_after=stop_after)
        judged += write(out)
        assert out.read_bytes() == COMPLETE
        assert sorted(str(row.id) for row in judged) == ["row 1", "row 2", "row 2", "row 3", "row 4", "row 5"]


@pytest.mark.parametrize("errors", [{}, {"row 1": CALL}, {"row 1": REPLY}])
def test_a_partial_output_without_a_reward_refuses_no_settings(tmp_path: Path, errors: dict[str, FailureKind]) -> None:
    write(tmp_path / "out.jsonl", stop_after=len(errors), errors=errors)
    assert len(write(tmp_path / "out.jsonl", settings=SETTINGS | {"llm_judge_model": "corrected"})) == len(ROWS)


def test_what_came_from_standard_input_is_not_gone_on_with(tmp_path: Path) -> None:
    write(tmp_path / "out.jsonl", stop_after=2)
    with pytest.raises(UsageError, match="standard input can't be read again; --restart"):
        write(tmp_path / "out.jsonl", settings=SETTINGS | {"input": None})
