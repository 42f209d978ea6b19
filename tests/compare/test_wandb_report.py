"""The W&B report as an object of the real library; saving it needs a server and is not tested."""

import pytest

from open_instruct_flip.compare.run import Run
from open_instruct_flip.compare.wandb_report import build_report
from open_instruct_flip.errors import UsageError


def online(source, reward_key):
    row = {"step": 1, "reward": 1.0}
    return Run(source[-1], source, rows=(row,), logged_as={"step": "training_step", "reward": reward_key})


def test_one_panel_per_metric_and_one_run_set_per_project():
    pytest.importorskip("wandb_workspaces", reason="wandb-workspaces is optional")
    from wandb_workspaces import expr

    runs = [
        online("e/p/a", "objective/general-flip_reward"),
        online("e/p/b", "objective/general-pointwise_reward"),
        online("e/q/c", "objective/general-flip_reward"),
    ]
    report = build_report(runs)
    (grid,) = report.blocks
    (panel,) = grid.panels
    assert (report.entity, report.project) == ("e", "p")
    assert panel.x == "training_step"
    assert panel.y == ["objective/general-flip_reward", "objective/general-pointwise_reward"]
    assert [expr.expr_to_filters(runs.filters).value for runs in grid.runsets] == [["a", "b"], ["c"]]
    assert len({settings.color for runs in grid.runsets for settings in runs.run_settings.values()}) == 3
    assert panel._to_model().config.metrics


def test_a_local_run_has_no_place_in_a_report():
    with pytest.raises(UsageError, match="overlays online runs"):
        build_report([online("e/p/a", "reward"), Run("local", "runs/flip")])
