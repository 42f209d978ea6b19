"""`flip data build`: a WildChat-shaped file with every bad case, reproducibility, and interrupted work."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import pyarrow.parquet
import pytest

from open_instruct_flip.commands.main import run
from open_instruct_flip.data.build import build, open_source
from open_instruct_flip.data.config import BuildConfig
from open_instruct_flip.data.decontaminate import Benchmarks
from open_instruct_flip.data.manifest import Source, content_hash
from open_instruct_flip.data.prompts import BadRows, read_prompts
from open_instruct_flip.data.selection import select_prompts
from open_instruct_flip.data.validate import validate_dataset
from open_instruct_flip.errors import FlipError, MissingDependencyError, UsageError
from open_instruct_flip.rows.files import Row, read_rows

HERE = Path(__file__).parent
WILDCHAT = HERE / "wildchat.jsonl"
BAD_ROWS = HERE / "wildchat_bad_rows.jsonl"
LIMERICK = "Write a limerick about a printer that only works when nobody is watching."


def rows_of(*texts: str) -> Iterator[Row]:
    return (Row("memory", number, {"prompt": text}) for number, text in enumerate(texts, start=1))


def plans(count: int) -> list[str]:
    return [
        f"Plan day {n} of my trip with {' '.join(f'stop{n * k}' for k in range(2, 12))}." for n in range(1, count + 1)
    ]


def test_each_row_of_the_fixture_is_dropped_for_the_reason_it_was_written_for() -> None:
    config = BuildConfig(max_per_prefix=2)
    selection = select_prompts(read_rows(WILDCHAT), config, Benchmarks([LIMERICK], 8))
    expected = Counter(row.columns["expect"] for row in read_rows(WILDCHAT))
    templates = expected.pop("template_or_kept")
    assert len(selection.prompts) == expected.pop("kept") + config.max_per_prefix
    expected["template"] = templates - config.max_per_prefix
    assert {name: count for name, count in selection.dropped.items() if count} == expected
    assert selection.num_rows == len(selection.prompts) + sum(selection.dropped.values())


def test_the_first_user_turn_or_the_last_one() -> None:
    row = Row("memory", 1, next(r.columns for r in read_rows(WILDCHAT) if r.columns["turn"] == 2))
    (first,) = select_prompts([row], BuildConfig()).prompts
    assert [message["role"] for message in first.messages] == ["user"]
    (last,) = select_prompts([row], BuildConfig(multi_turn=True, min_words=1, min_distinct_words=1)).prompts
    assert [message["role"] for message in last.messages] == ["user", "assistant", "user"]
    assert last.instruction == "more"


def test_a_missing_package_is_told_before_the_first_row_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasketch", None)
    rows = rows_of("Explain soil.")
    with pytest.raises(MissingDependencyError, match="near duplicates need datasketch: pip install"):
        select_prompts(rows, BuildConfig())
    assert [row.columns["prompt"] for row in rows] == ["Explain soil."]


def test_mathematics_and_code_stay_on_demand() -> None:
    dropped = select_prompts(read_rows(WILDCHAT), BuildConfig(keep_math_code=True)).dropped
    assert "code" not in dropped
    assert "math" not in dropped


def test_a_bad_row_ends_the_build_and_all_of_them_are_named() -> None:
    with pytest.raises(FlipError) as error:
        select_prompts(read_rows(BAD_ROWS), BuildConfig())
    lines = BAD_ROWS.read_text("utf-8").splitlines()
    assert str(error.value).startswith(f"{len(lines)} bad rows (")
    assert all(f"{BAD_ROWS}:{number}: " in str(error.value) for number in range(1, len(lines) + 1))
    assert "--skip_bad_rows" in str(error.value)


def test_bad_rows_are_counted_when_they_are_skipped() -> None:
    rows = [*rows_of(*plans(3)), *read_rows(BAD_ROWS)]
    selection = select_prompts(rows, BuildConfig(skip_bad_rows=True))
    assert len(selection.prompts) == 3
    assert selection.bad_rows.count == len(BAD_ROWS.read_text("utf-8").splitlines())
    assert selection.num_rows == 3 + selection.bad_rows.count


def test_reading_gives_up_after_enough_bad_rows() -> None:
    met = []

    def endless() -> Iterator[Row]:
        for number in range(1, 10_000):
            met.append(number)
            yield Row("memory", number, {})

    with pytest.raises(FlipError, match="5 bad rows"):
        list(read_prompts(endless(), BadRows(max_named=5), multi_turn=False))
    assert len(met) == 5


def test_num_prompts_are_drawn_and_the_seed_decides_which() -> None:
    def draw(seed: int) -> list[str]:
        config = BuildConfig(num_prompts=10, seed=seed)
        return [prompt.instruction for prompt in select_prompts(rows_of(*plans(200)), config).prompts]

    assert len(draw(1)) == 10
    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


def test_the_pool_bounds_what_is_held_and_the_rest_is_counted() -> None:
    selection = select_prompts(rows_of(*plans(200)), BuildConfig(num_prompts=10, oversample=2))
    assert selection.dropped["not_sampled"] == 190
    assert len(selection.prompts) == 10


def run_build(out: Path, *arguments: str) -> int:
    return run(["data", "build", "--input", str(WILDCHAT), "--out", str(out), "--name", "chat", *arguments])


def test_the_command_writes_two_datasets_that_differ_in_the_label_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmark = tmp_path / "benchmark.txt"
    benchmark.write_text(LIMERICK + "\n")
    assert run_build(tmp_path / "out", "--decontaminate", str(benchmark)) == 0
    assert "fewer than asked for" in capsys.readouterr().err
    flip, baseline = (
        datasets.load_dataset(str(tmp_path / "out" / name), split="train", cache_dir=str(tmp_path / "cache"))
        for name in ("chat_flip", "chat")
    )
    assert set(flip["dataset"]) == {"general-flip"}
    assert set(baseline["dataset"]) == {"general-quality"}
    assert flip.column_names == ["messages", "ground_truth", "dataset"]
    assert flip.remove_columns("dataset")[:] == baseline.remove_columns("dataset")[:]
    assert all(row["ground_truth"] == row["messages"][-1]["content"] for row in flip)
    assert any("\n\n" in text for text in flip["ground_truth"])
    for name in ("chat_flip", "chat"):
        assert validate_dataset(tmp_path / "out" / name) == []


def test_the_manifest_says_where_the_rows_went(tmp_path: Path) -> None:
    assert run_build(tmp_path, "--seed", "7", "--baseline_label", "general-pointwise", "--license", "odc-by") == 0
    flip, baseline = (json.loads((tmp_path / name / "manifest.json").read_text()) for name in ("chat_flip", "chat"))
    assert (flip.pop("label"), baseline.pop("label")) == ("general-flip", "general-pointwise")
    assert flip == baseline
    assert flip["source"] == {"name": str(WILDCHAT), "split": "train", "revision": None}
    assert flip["config"]["seed"] == 7
    assert flip["num_rows"] == flip["num_prompts"] + flip["bad_rows"] + sum(flip["dropped"].values())
    rows = pyarrow.parquet.read_table(tmp_path / "chat" / "data").to_pylist()
    assert flip["content_sha256"] == content_hash(row["messages"] for row in rows)
    card = (tmp_path / "chat" / "README.md").read_text()
    assert card.startswith("---\n")
    assert "license: odc-by" in card
    assert f"| toxic | {flip['dropped']['toxic']} |".replace("toxic", "marked toxic", 1) in card


def test_name_and_licence_are_known_for_wildchat_only(tmp_path: Path) -> None:
    def card(source: str, config: BuildConfig) -> str:
        folders, _ = build(rows_of(*plans(3)), Source(source, "train"), tmp_path / source, config)
        return (folders[1] / "README.md").read_text()

    wildchat = card("allenai/WildChat-1M", BuildConfig())
    assert "# wildchat\n" in wildchat
    assert "license: odc-by" in wildchat
    assert "license: unknown" in card("mine.jsonl", BuildConfig(name="mine"))
    with pytest.raises(UsageError, match=r"--name is needed for mine\.jsonl"):
        card("mine.jsonl", BuildConfig())


def test_equal_builds_give_equal_bytes(tmp_path: Path) -> None:
    assert run_build(tmp_path / "a") == run_build(tmp_path / "b") == 0
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert len(files) == 6
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_an_existing_dataset_is_replaced_only_on_demand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_build(tmp_path) == 0
    note = tmp_path / "chat" / "note.txt"
    note.write_text("mine")
    (tmp_path / "other.txt").write_text("mine too")
    assert run_build(tmp_path) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert note.exists()
    assert run_build(tmp_path, "--overwrite") == 0
    assert not note.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["chat", "chat_flip", "other.txt"]


def test_an_interrupted_build_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("open_instruct_flip.data.write.dataset_card", interrupt)
    assert run_build(tmp_path / "new" / "out") == 130
    assert list(tmp_path.iterdir()) == []


def test_a_failed_overwrite_keeps_the_old_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_build(tmp_path) == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def fail(*_: object) -> str:
        raise OSError("no space left on device")

    monkeypatch.setattr("open_instruct_flip.data.write.dataset_card", fail)
    with pytest.raises(OSError, match="no space"):
        run_build(tmp_path, "--overwrite", "--seed", "2")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_broken_parquet_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "rows.parquet"
    broken.write_bytes(b"PAR1 and then nothing")
    assert run(["data", "build", "--input", str(broken), "--name", "x", "--out", str(tmp_path / "out")]) == 2
    assert f"{broken} is no readable parquet file" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_rows_are_counted_where_that_is_cheap(tmp_path: Path) -> None:
    path = tmp_path / "train.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"prompt": plans(7)}), path)
    assert open_source("", [str(path), str(tmp_path)])[2] == 14
    assert open_source("", [str(path), str(WILDCHAT)])[2] is None


def test_nothing_left_is_an_error_with_the_counts(tmp_path: Path) -> None:
    with pytest.raises(FlipError, match="rows 2, too_few_words 2"):
        build(rows_of("hi", "hello"), Source("memory", "train"), tmp_path / "out", BuildConfig(name="chat"))
    assert not (tmp_path / "out").exists()


def test_parquet_with_wildchats_other_columns_gives_the_same_prompts(tmp_path: Path) -> None:
    rows = [json.loads(line) for line in WILDCHAT.read_text("utf-8").splitlines()]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "rows.parquet")
    _, parquet, _ = open_source("", [str(tmp_path / "rows.parquet")])
    assert select_prompts(parquet, BuildConfig()).prompts == select_prompts(read_rows(WILDCHAT), BuildConfig()).prompts


class Hub:
    """Stands for the hub's client."""

    def dataset_info(self, name: str, revision: str | None) -> SimpleNamespace:
        if name == "org/none":
            raise LookupError(f"404 {name}")
        return SimpleNamespace(sha="5fe1")

    def create_repo(self, name: str, **options: Any) -> str:
        assert options["private"]
        return f"https://hub/{name}"


def test_the_source_wildchat_streams_the_needed_columns_at_a_fixed_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def load_dataset(name: str, **options: Any) -> list[dict[str, Any]]:
        asked.update(options, name=name)
        return [row.columns for row in read_rows(WILDCHAT)]

    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", False)
    source, rows, _ = open_source("wildchat", revision="main")
    assert source == Source("allenai/WildChat-1M", "train", "5fe1")
    assert next(rows).place == "allenai/WildChat-1M:1"
    assert asked["name"] == "allenai/WildChat-1M"
    assert asked["revision"] == "5fe1"
    assert asked["streaming"] is True
    assert set(asked["columns"]) == {"conversation", "language", "toxic", "redacted"}


def test_a_hub_that_stops_in_the_middle_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(*_: Any, **__: Any) -> Iterator[dict[str, Any]]:
        yield {"prompt": plans(1)[0]}
        raise ConnectionError("reset by peer")

    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    rows = read_rows("org/data")
    with pytest.raises(FlipError, match=r"org/data stopped after row 1.*reset by peer"):
        build(rows, Source("org/data", "train"), tmp_path / "out", BuildConfig(name="chat"))
    assert list(tmp_path.iterdir()) == []


def test_push_to_hub_uploads_both_variants(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uploads: dict[str, list[str]] = {}

    class Uploads(Hub):
        def upload_folder(self, repo_id: str, folder_path: Path, **_: Any) -> None:
            if "refused" in repo_id:
                raise PermissionError("403 Forbidden")
            uploads[repo_id] = sorted(path.name for path in folder_path.rglob("*") if path.is_file())

    monkeypatch.setattr("huggingface_hub.HfApi", Uploads)
    assert run_build(tmp_path / "a", "--push_to_hub", "me/chat") == 0
    files = ["README.md", "manifest.json", "train-00000-of-00001.parquet"]
    assert uploads == {"me/chat_flip": files, "me/chat": files}
    assert run_build(tmp_path / "b", "--push_to_hub", "me/refused") == 1
    assert (tmp_path / "b" / "chat_flip").is_dir()


WRONG_USE = [
    (["--num_prompts", "0"], "--num_prompts must be above 0"),
    (["--name", "a/b"], "--name is a folder name"),
    (["--input", "nowhere.parquet"], "no such file"),
    (["--decontaminate", "nowhere.jsonl"], "no such file"),
    (["--num_prompts", "many"], "--num_prompts"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG_USE)
def test_wrong_use_is_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert run_build(tmp_path / "out", *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_source_is_named_when_the_hub_has_no_such_dataset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    with pytest.raises(UsageError, match="org/none is no file or folder, and the hub says: LookupError: 404 org/none"):
        open_source("org/none")
