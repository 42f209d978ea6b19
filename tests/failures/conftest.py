"""Short pauses, so that an outage of a test lasts no longer than it must."""

from __future__ import annotations

import pytest

from open_instruct_flip.failures import outage


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(outage, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(outage, "MAX_PAUSE_S", 0.05)
