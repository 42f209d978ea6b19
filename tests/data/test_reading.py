"""Files that are not what their names say: one line or a bad row each, and no text that nobody wrote."""

from __future__ import annotations

import codecs
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from open_instruct_flip.errors import UsageError
from open_instruct_flip.rows.files import read_rows


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_text_that_is_not_utf_8_is_a_bad_row(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_bytes("Name a café in Paris\nName a river".encode(encoding))
    faults = [row.fault for row in read_rows(tmp_path / "prompts.txt")]
    assert faults[0] == "the line is not UTF-8"


def test_a_byte_order_mark_is_no_part_of_a_prompt(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_bytes(codecs.BOM_UTF8 + b"Name a river\n")
    (tmp_path / "rows.json").write_bytes(codecs.BOM_UTF8 + b'[{"prompt": "Name a river"}]')
    for name in ("prompts.txt", "rows.json"):
        assert [row.columns for row in read_rows(tmp_path / name)] == [{"prompt": "Name a river"}]


def test_a_parquet_value_that_python_can_not_hold_is_one_line(tmp_path: Path) -> None:
    late = pyarrow.array([2**62], pyarrow.timestamp("us"))
    pyarrow.parquet.write_table(pyarrow.table({"prompt": ["Name a river"], "at": late}), tmp_path / "rows.parquet")
    with pytest.raises(UsageError, match=r"rows\.parquet is no readable parquet file"):
        list(read_rows(tmp_path / "rows.parquet"))
