"""``edgekd pipeline sensitivity``: each group of channels cut alone."""

import json
import sys
from pathlib import Path

import pytest

from edgekd.cli import main
from edgekd.config.progress import Progress
from edgekd.errors import ConfigError
from edgekd.pipeline import Pipeline
from edgekd.pipeline.sensitivity import SHARES, group_losses
from tests.chain import write_pipeline

TEXT = """
    name: s
    data: {name: digits, image_size: 8}
    target: {isa: x86-avx2, threads: 1}
    stages:
      - {stage: teacher, model: resnet8, epochs: 2, batch_size: 128}
      - {stage: prune, pruning_ratio: 0.5}
"""


def test_what_is_not_trained_or_not_pruned_is_told_in_one_line(tmp_path: Path) -> None:
    pipeline = Pipeline.from_yaml(write_pipeline(tmp_path, TEXT))
    alone = Pipeline.from_yaml(write_pipeline(tmp_path, TEXT[: TEXT.index("      - {stage: prune")]))

    with pytest.raises(ConfigError, match=r"stages\[1\] \(prune\)\.source: 'teacher' is not trained yet; run"):
        group_losses(pipeline, tmp_path / "models", Progress())
    with pytest.raises(ConfigError, match=r"there is no prune stage; add"):
        group_losses(alone, tmp_path / "models", Progress())


@pytest.mark.slow
def test_every_group_is_cut_alone_and_the_store_stays_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_pipeline(tmp_path, TEXT)
    Pipeline.from_yaml(path).run(tmp_path / "models", tmp_path / "exports")
    before = sorted((tmp_path / "models").rglob("*"))

    found = group_losses(Pipeline.from_yaml(path), tmp_path / "models", Progress())
    arguments = ["pipeline", "sensitivity", str(path), "--models", str(tmp_path / "models"), "--json"]
    monkeypatch.setattr(sys, "argv", ["edgekd", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()

    assert ended.value.code in (0, None)
    cut = [group for group in found if not group.kept_because]
    assert len(cut) >= 3
    for group in cut:
        assert set(group.drop) <= set(SHARES)
        shares = sorted(group.macs)
        assert [group.macs[share] for share in shares] == sorted(group.macs[share] for share in shares)
        assert all(0 < saved < 1 for saved in group.macs.values())
        assert all(-1 < drop < 1 for drop in group.drop.values())
    assert max(drop for group in cut for drop in group.drop.values()) > 0
    printed = json.loads(capsys.readouterr().out)
    assert [group["layers"] for group in printed] == [list(group.layers) for group in found]
    assert printed[0]["drop"] == {str(share): drop for share, drop in found[0].drop.items()}
    assert sorted((tmp_path / "models").rglob("*")) == before
