"""The file of the best trial: plain YAML, whatever the pipeline file held."""

from typing import Any

from edgekd.config import parse_yaml
from edgekd.pipeline.search.best_file import best_yaml
from tests.report.search.made_up import made_up_front


def test_the_best_file_keeps_whatever_yaml_holds() -> None:
    tree: dict[str, Any] = {
        "name": "any", "seed": 1, "search": {},
        "data": {"name": "folder", "root": "a: b # c/é", "balance": True},
        "stages": [{"stage": "distill", "id": "1e3", "loss": {"name": "dkd", "others_weight": 4.5}, "lr": 1e-05}],
    }  # fmt: skip
    front = made_up_front()
    best = front.trials[0].model_copy(update={"number": front.best, "values": {"1e3.lr": 0.1}})

    text = best_yaml(tree, front.model_copy(update={"trials": [best]}))

    kept = parse_yaml(text, "best.yaml")
    assert kept == {key: value for key, value in {**tree, "name": "mobilenet-best"}.items() if key != "search"} | {
        "stages": [{**tree["stages"][0], "lr": 0.1}]
    }
    assert "#   1e3.lr: 0.1 (was 1e-05)\n" in text
