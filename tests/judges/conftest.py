"""The scripted judge model as a fixture."""

from __future__ import annotations

import pytest
from scripted_model import ScriptedModel

from open_instruct_flip.client.client import JudgeClient


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> ScriptedModel:
    scripted = ScriptedModel()
    monkeypatch.setattr(JudgeClient, "complete", lambda self, request: scripted.complete(request))
    return scripted
