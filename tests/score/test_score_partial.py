"""The partial output: cut anywhere it goes on; of other settings or rows it is refused."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from open_instruct_flip.errors import UsageError
from open_instruct_flip.rewards import FailureKind, Reward, Usage
from open_instruct_flip.score.partial import PartialOutput, encode
from open_instruct_flip.score.rows import ScoreRow

SETTINGS = {"judge": "flip", "max_tokens": 512}
ROWS = [ScoreRow(f"row {n}", f"in:{n}", n, [], ["r"] * size) for n, size in enumerate((1, 3, 0, 2, 1), start=1)]


def outputs_of(row: ScoreRow) -> list[dict[str, Any]]:
    reward = Reward(score=0.5, inferred_instruction="día \ud800", usage=Usage(10, 2, 1), latency_s=0.1)
    if not row.responses:
        reward = Reward(error=FailureKind.INVALID_INPUT, detail="no response")
    return [{"id": row.id, "index": index, **reward.as_row()} for index in range(row.num_outputs)]


def write(out: Path, rows: list[ScoreRow] = ROWS, stop_after: int | None = None, **options: Any) -> list[ScoreRow]:
    """A run; the rows it had to do. Stopped early it leaves what a killed one would."""
    with PartialOutput(out, options.pop("settings", SETTINGS), **options) as partial:
        todo = list(partial.resume(rows))
        for row in todo[:stop_after]:
            partial.append(outputs_of(row), row.position)
        if stop_after is None:
            partial.finish()
            assert (partial.summary.num_rows, partial.summary.num_responses) == (5, 8)
            assert partial.position == rows[-1].position
    return todo


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
        assert len(ROWS) - len(todo) == sum(done >= end for end in (1, 4, 5, 7, 8))


def test_other_settings_are_refused_with_both_values(tmp_path: Path) -> None:
    write(tmp_path / "out.jsonl", stop_after=2)
    with pytest.raises(UsageError, match=r"other settings \(max_tokens 512, now 64\); --restart"):
        write(tmp_path / "out.jsonl", settings={"judge": "flip", "max_tokens": 64})
    assert len(write(tmp_path / "out.jsonl")) == 3


def test_settings_that_are_gone_are_not_guessed(tmp_path: Path) -> None:
    write(tmp_path / "out.jsonl", stop_after=2)
    (tmp_path / "out.jsonl.partial.json").unlink()
    with pytest.raises(UsageError, match=r"no readable out\.jsonl\.partial\.json beside it; --restart"):
        write(tmp_path / "out.jsonl")


@pytest.mark.parametrize("other", [list(reversed(ROWS)), ROWS[:1], []], ids=["order", "fewer", "none"])
def test_other_rows_are_refused(tmp_path: Path, other: list[ScoreRow]) -> None:
    write(tmp_path / "out.jsonl", stop_after=3)
    with pytest.raises(UsageError, match="--restart throws it away"):
        write(tmp_path / "out.jsonl", other)


def test_restart_begins_anew_whatever_was_there(tmp_path: Path) -> None:
    write(tmp_path / "out.jsonl", stop_after=3)
    assert len(write(tmp_path / "out.jsonl", settings={"judge": "pointwise"}, restart=True)) == len(ROWS)
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
