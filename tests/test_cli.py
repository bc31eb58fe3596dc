"""The command line: what it says, what it ends with, and that every mistake is one line."""

import importlib.metadata
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from edgekd import Pipeline, cli
from edgekd.cli.terminal import PlainProgress
from edgekd.ondevice.limits import MOST_BATCH, MOST_THREADS
from edgekd.ondevice.machine import host_isa
from edgekd.onnx_export import ort
from edgekd.store import lock
from edgekd.store.artifacts import Store
from edgekd.training.parallel import ALONE
from tests.chain import YAML, write_pipeline
from tests.report.compare.made_up import made_up_report, write_export

REAL = [sys.executable, "-c", "from edgekd.cli import main; main()"]
SHIPPED = sorted((Path(__file__).parent.parent / "pipelines").glob("*.yaml"))


class Ended(NamedTuple):
    """How a command ended."""

    code: int | str | None
    out: str
    err: str


Command = Callable[..., Ended]


@pytest.fixture
def edgekd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command in this process, because torch takes seconds to import, in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str | Path) -> Ended:
        monkeypatch.setattr(sys, "argv", ["edgekd", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return Ended(ended.value.code, *capsys.readouterr())

    return run


def refused(ended: Ended) -> str:
    """The one line that a command with one mistake leaves."""
    assert ended.code == 2, ended
    assert "Traceback" not in ended.err
    (line,) = ended.err.splitlines()
    assert line.startswith("edgekd: ")
    return line.removeprefix("edgekd: ")


class Mistake(NamedTuple):
    """An edit of the small pipeline, and what must be said of it: where, what was found, what to do."""

    old: str
    new: str
    where: str
    told: tuple[str, ...]


TEACHER, PRUNE, DISTILL, QAT = "epochs: 4", "pruning_ratio: 0.5", "epochs: 3", "epochs: 2"
MISTAKES = {
    "unknown key": Mistake(
        TEACHER,
        "epoch: 4",
        "stages[0].epoch",
        ("unknown key", "did you mean 'epochs'?", "known: all_labels, batch_size"),
    ),
    "unknown key at the top": Mistake("budget:", "budgets:", "budgets", ("unknown key", "did you mean 'budget'?")),
    "unknown stage": Mistake(
        "stage: prune", "stage: prun", "stages[1].stage", ("unknown stage 'prun'", "did you mean 'prune'?")
    ),
    "no stage": Mistake("stage: prune, ", "", "stages[1].stage", ("is missing",)),
    "unknown model": Mistake(
        "resnet8", "resnet9", "stages[0].model", ("unknown model 'resnet9'", "did you mean resnet")
    ),
    "unknown student": Mistake(DISTILL, "model: mobilenet", "stages[2].model", ("'mobilenet'", "did you mean")),
    "unknown dataset": Mistake(
        "name: digits", "name: digit", "data.name", ("unknown dataset 'digit'", "did you mean 'digits'?")
    ),
    "unknown loss": Mistake(DISTILL, "loss: mse", "stages[2].loss", ("unknown loss 'mse'", "known: kd, dkd, dist")),
    "unknown parameter of a loss": Mistake(
        DISTILL, "loss: {name: dkd, share: 4}", "stages[2].loss.share", ("unknown key", "others_weight, target_weight")
    ),
    "unknown isa": Mistake("x86-avx2", "sparc", "target.isa", ("'x86-vnni'", "found 'sparc'")),
    "pruning_ratio of one": Mistake(
        PRUNE, "pruning_ratio: 1.0", "stages[1].pruning_ratio", ("should be less than 1", "found 1.0")
    ),
    "macs_ratio of nothing": Mistake(
        PRUNE, "macs_ratio: 0", "stages[1].macs_ratio", ("should be greater than 0", "found 0")
    ),
    "both ratios": Mistake(
        PRUNE,
        f"{PRUNE}, macs_ratio: 0.5",
        "stages[1]",
        ("give one of pruning_ratio, macs_ratio", "found pruning_ratio and macs_ratio"),
    ),
    "neither ratio": Mistake(f", {PRUNE}", "", "stages[1]", ("give one of pruning_ratio, macs_ratio", "found none")),
    "temperature of nothing": Mistake(
        DISTILL, "temperature: 0", "stages[2].temperature", ("should be greater than 0", "found 0")
    ),
    "negative alpha": Mistake(
        DISTILL, "alpha: -0.1", "stages[2].alpha", ("should be greater than or equal to 0", "found -0.1")
    ),
    "negative beta": Mistake(
        QAT, "beta: -0.5", "stages[3].beta", ("should be greater than or equal to 0", "found -0.5")
    ),
    "no weight": Mistake(
        DISTILL, "alpha: 0, beta: 0", "stages[2].alpha", ("is not read, since beta is 0", "leave it out")
    ),
    "no epochs": Mistake(
        TEACHER, "epochs: 0", "stages[0].epochs", ("is 0, so that nothing is learned", "give weights, or raise it")
    ),
    "text for a number": Mistake(
        TEACHER, "epochs: many", "stages[0].epochs", ("should be a valid integer", "found 'many'")
    ),
    "a share for a count": Mistake(
        TEACHER, "epochs: 1.5", "stages[0].epochs", ("should be a valid integer", "found 1.5")
    ),
    "not a number": Mistake(DISTILL, "lr: .nan", "stages[2].lr", ("should be a finite number", "found nan")),
    "nothing": Mistake("threads: 1", "threads:", "target.threads", ("should be a valid integer", "found nothing")),
    "an id twice": Mistake(
        "stage: distill", "stage: distill, id: prune", "stages[2].id", ("'prune' is used twice", "an id of its own")
    ),
    "a later stage": Mistake(
        PRUNE,
        f"{PRUNE}, source: distill",
        "stages[1].source",
        ("'distill' is not an earlier stage", "earlier stages: teacher"),
    ),
    "a missing stage": Mistake(
        QAT, "teacher: nobody", "stages[3].teacher", ("no stage 'nobody'", "earlier stages: teacher, prune, distill")
    ),
    "an integer source": Mistake(
        "{stage: export}",
        "{stage: distill, id: again, source: qat}",
        "stages[4].source",
        ("'qat' (qat) leaves no float model", "name a stage that does: teacher, prune, distill"),
    ),
    "a name that leaves the folder": Mistake("name: small", "name: ../up", "name", ("pattern", "found '../up'")),
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_with_its_place_what_was_found_and_what_to_do(
    mistake: Mistake, tmp_path: Path, edgekd: Command
) -> None:
    assert YAML.count(mistake.old) == 1
    path = write_pipeline(tmp_path, YAML.replace(mistake.old, mistake.new))

    line = refused(edgekd("pipeline", "plan", path))

    assert line.startswith(f"{path}: {mistake.where}: ")
    assert [told for told in mistake.told if told not in line] == [], line
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("name: small", "name: [small", ":3:5: not valid YAML: expected ',' or ']', but got ':'; fix the line"),
        ("{name: digits,", "{name: digits", ":3:"),
        ("name: small", "name: !!python/object:os.system x", ":2:7: YAML tags are not allowed, found 'tag:yaml.org"),
        ("name: small", "name: !!binary c21hbGw=", ":2:7: YAML tags are not allowed"),
        ("name: small", "name: small\n    name: big", ":3:1: not valid YAML: the key 'name' is used twice"),
    ],
)
def test_broken_yaml_is_told_with_line_and_column(
    old: str, new: str, told: str, tmp_path: Path, edgekd: Command
) -> None:
    assert YAML.count(old) == 1
    path = write_pipeline(tmp_path, YAML.replace(old, new))

    assert refused(edgekd("pipeline", "plan", path)).startswith(f"{path}{told}")


@pytest.mark.parametrize("command", ["run", "plan"])
def test_a_missing_file_and_a_folder_are_told_with_their_path(command: str, tmp_path: Path, edgekd: Command) -> None:
    missing, folder = tmp_path / "none.yaml", tmp_path

    assert refused(edgekd("pipeline", command, missing)) == (
        f"{missing}: cannot be read (no such file or directory); check the path and its permissions"
    )
    assert refused(edgekd("pipeline", command, folder)) == (
        f"{folder}: cannot be read (is a directory); check the path and its permissions"
    )


def test_every_mistake_of_a_file_has_a_line_of_its_own(tmp_path: Path, edgekd: Command) -> None:
    text = YAML.replace(TEACHER, "epochs: 0").replace(DISTILL, "temperature: 0, alpha: -1, lrr: 1")

    ended = edgekd("pipeline", "run", write_pipeline(tmp_path, text))

    assert ended.code == 2
    assert sorted(line.split(": ")[2] for line in ended.err.splitlines()) == [
        "stages[0].epochs", "stages[2].alpha", "stages[2].lrr", "stages[2].temperature",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("targets.isa=host", "targets: unknown key; did you mean 'target'?"),
        ("stages.teacher.epoch=1", "stages[0].epoch: unknown key; did you mean 'epochs'?"),
        ("stages.distil.epochs=1", "--set stages.distil.epochs: 'distil' does not exist; known: teacher, prune"),
        ("stages.5.epochs=1", "--set stages.5.epochs: '5' does not exist; known: teacher, prune"),
        ("name.first=x", "--set name.first: 'first' does not exist: its parent is text; check the key path"),
        ("stages.qat.epochs=0", "stages[3].epochs: input should be greater than or equal to 1, found 0"),
        ("seed", "--set seed: is not key.path=value; write e.g. --set seed=1"),
        ("seed=[1", "--set seed:1:3: not valid YAML"),
    ],
)
def test_an_override_that_does_not_fit_is_one_line(override: str, told: str, tmp_path: Path, edgekd: Command) -> None:
    path = write_pipeline(tmp_path)

    line = refused(edgekd("pipeline", "plan", path, "--set", override))

    assert line.removeprefix(f"{path}: ").startswith(told)


@pytest.mark.parametrize("option", ["--models", "--exports"])
@pytest.mark.parametrize(("below", "reason"), [("", "file exists"), ("below", "not a directory")])
def test_a_folder_that_cannot_be_written_is_told_before_anything_is_trained(
    option: str, below: str, reason: str, tmp_path: Path, edgekd: Command
) -> None:
    path, file = write_pipeline(tmp_path), tmp_path / "file"
    file.write_text("in the way")

    ended = edgekd("pipeline", "run", path, option, file / below)

    assert refused(ended) == f"{file / below}: cannot be written ({reason}); check room and permissions"
    assert "epoch" not in ended.out


@pytest.mark.parametrize(
    "arguments",
    [("pipeline", "run", "x.yaml", "--no-such-option"), ("pipeline", "walk"), ("pipeline", "run"), ("--versions",)],
)
def test_an_unknown_word_on_the_command_line_is_refused(arguments: tuple[str, ...], edgekd: Command) -> None:
    ended = edgekd(*arguments)

    assert ended.code == 2
    assert "Traceback" not in ended.err
    assert "--help" in ended.err


def test_debug_shows_the_traceback_and_keeps_the_line_and_the_exit_code(tmp_path: Path, edgekd: Command) -> None:
    path = write_pipeline(tmp_path, YAML.replace(TEACHER, "epochs: 0"))

    ended = edgekd("--debug", "pipeline", "run", path)

    assert ended.code == 2
    assert ended.err.startswith("Traceback (most recent call last):")
    assert ended.err.splitlines()[-1].startswith(f"edgekd: {path}: stages[0].epochs: ")


def test_a_plan_shows_every_stage_and_leaves_nothing(tmp_path: Path, edgekd: Command) -> None:
    path = write_pipeline(tmp_path)

    ended = edgekd("pipeline", "plan", path, "--set", "stages.distill.id=student")

    assert (ended.code, ended.err) == (0, "")
    assert "target: x86-avx2 (declared" in ended.out
    assert [line.split()[0] for line in ended.out.splitlines() if "to do" in line] == [
        "teacher", "prune", "student", "qat", "export",
    ]  # fmt: skip
    assert list(tmp_path.iterdir()) == [path]


def test_doctor_names_the_instruction_set_and_what_the_saturation_probe_found(edgekd: Command) -> None:
    ended = edgekd("doctor")

    assert (ended.code, ended.err) == (0, "")
    assert f"{host_isa()}, " in ended.out
    assert ("SATURATE here" in ended.out) == ort.saturates()
    assert ("are exact here" in ended.out) != ort.saturates()
    assert re.search(r"GPU for training +" + ALONE.record().get("gpu", "none that torch sees"), ended.out)


@pytest.fixture
def exports(tmp_path: Path) -> list[Path]:
    """Two finished runs."""
    return [write_export(tmp_path / "exports" / name, made_up_report(name)) for name in ("one", "two")]


def test_compare_prints_the_runs_and_writes_nothing(exports: list[Path], tmp_path: Path, edgekd: Command) -> None:
    before = sorted(tmp_path.rglob("*"))

    ended = edgekd("compare", *exports)

    assert ended.code == 0, ended.err
    assert "no difference measured" in ended.out
    assert sorted(tmp_path.rglob("*")) == before


def test_compare_prints_nothing_but_json_for_a_machine(exports: list[Path], edgekd: Command) -> None:
    ended = edgekd("compare", *exports, "--json")

    assert [run["name"] for run in json.loads(ended.out)["runs"]] == ["one", "two"]


def test_compare_writes_a_page_where_it_is_asked_to(exports: list[Path], tmp_path: Path, edgekd: Command) -> None:
    ended = edgekd("compare", *exports, "--html", "page.html")

    assert ended.out.endswith("page: page.html\n")
    assert (tmp_path / "page.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_compare_refuses_what_is_no_export_in_one_line(exports: list[Path], tmp_path: Path, edgekd: Command) -> None:
    (tmp_path / "report.json").write_text('{"schema": 9}', encoding="utf-8")

    assert "name a folder exports/<name>/" in refused(edgekd("compare", exports[0], "nowhere"))
    assert "use a newer edgekd" in refused(edgekd("compare", exports[0], "report.json"))
    assert "1 export given" in refused(edgekd("compare", exports[0]))


def test_comparing_waits_for_neither_torch_nor_matplotlib(exports: list[Path]) -> None:
    code = (
        "import sys\n"
        "from edgekd.cli import main\n"
        "try: main()\n"
        "finally: print('imported:', *sorted({'torch', 'matplotlib', 'onnxruntime'} & set(sys.modules)))\n"
    )

    done = subprocess.run([sys.executable, "-c", code, "compare", *exports], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "imported:"


@pytest.mark.slow
def test_a_plan_waits_for_nothing_that_only_some_stages_need(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from edgekd.cli import main\n"
        "late = {'torchao', 'torch_pruning', 'matplotlib', 'torchvision', 'onnxscript'}\n"
        "try: main()\n"
        "finally: print('imported:', *sorted(late & set(sys.modules)))\n"
    )
    path = write_pipeline(tmp_path)

    done = subprocess.run(
        [sys.executable, "-c", code, "pipeline", "plan", path], cwd=tmp_path, capture_output=True, text=True, check=True
    )

    assert done.stdout.splitlines()[-1] == "imported:"


def test_the_pipelines_are_shipped() -> None:
    assert len(SHIPPED) >= 2


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_a_shipped_pipeline_is_valid_and_begins_with_its_own_command(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    comment = lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))]

    assert f"#   edgekd pipeline run pipelines/{path.name}" in comment
    assert Pipeline.from_yaml(path).name == path.stem


LOUD = """
name: loud
data: {name: digits, image_size: 8}
target: {isa: x86-avx2, threads: 1}
stages:
  - {stage: teacher, model: "tests.tiny:NETWORK", epochs: 1, batch_size: 512}
"""


LONG = LOUD.replace('"tests.tiny:NETWORK", epochs: 1', "resnet8, width_mult: 0.5, epochs: 10000")
"""A teacher alone: what follows it would be checked first, and torch_pruning and torchao imported for that."""


def in_a_process(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    root = str(Path(__file__).parent.parent)
    place = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    return subprocess.run([*REAL, *arguments], cwd=folder, env=place, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_what_libraries_print_does_not_reach_the_terminal(tmp_path: Path) -> None:
    """Printed, warned, logged, written by C++: nothing of it, unless --debug is given."""
    (tmp_path / "loud.yaml").write_text(LOUD.replace("NETWORK", "loud_network"))

    ended = in_a_process(tmp_path, "pipeline", "run", "loud.yaml")
    shown = in_a_process(tmp_path, "pipeline", "run", "loud.yaml", "--debug", "--force")

    assert ended.returncode == 0, ended.stderr
    assert "noise" not in ended.stdout + ended.stderr
    assert "teacher epoch 1/1" in ended.stdout
    assert ended.stderr == ""
    for kind in ("printed", "printed as an error", "warned", "logged", "written below", "written as an error"):
        assert f"noise: {kind}" in shown.stdout + shown.stderr


@pytest.mark.slow
def test_a_network_that_cannot_be_captured_is_one_line_without_its_graph(tmp_path: Path) -> None:
    text = LOUD.replace("NETWORK", "untraceable_network") + "  - {stage: qat}\n"
    (tmp_path / "branch.yaml").write_text(text)

    ended = in_a_process(tmp_path, "pipeline", "run", "branch.yaml")

    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.startswith("edgekd: stages[1] (qat): ")
    assert "cannot be captured" in line
    assert [line.split(":")[0] for line in ended.stdout.splitlines()] == ["target"]


def test_a_note_cannot_drive_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    PlainProgress().note("layer \x1b[2J\x07 is wide\nand so on")

    assert capsys.readouterr().out == "  layer \\x1b[2J\\x07 is wide\n  and so on\n"


def test_help_waits_for_neither_torch_nor_pydantic() -> None:
    code = (
        "import sys\n"
        "from edgekd.cli import main\n"
        "try: main()\n"
        "finally: print('imported:', *sorted({'torch', 'pydantic', 'numpy', 'yaml'} & set(sys.modules)))\n"
    )

    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True)

    assert "pipeline" in done.stdout
    assert done.stdout.splitlines()[-1] == "imported:"


@pytest.mark.slow
def test_a_mistake_is_the_only_line_on_a_real_terminal_s_standard_error(tmp_path: Path) -> None:
    path = write_pipeline(tmp_path, YAML.replace(TEACHER, "epochs: 0"))

    done = subprocess.run([*REAL, "pipeline", "run", path], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert "stages[0].epochs" in refused(Ended(done.returncode, done.stdout, done.stderr))
    assert done.stdout == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code", "what"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_signal_ends_a_run_cleanly_and_says_how_to_go_on(
    tmp_path: Path, number: signal.Signals, code: int, what: str
) -> None:
    path = write_pipeline(tmp_path, LONG)
    process = subprocess.Popen(
        [*REAL, "pipeline", "run", path], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )

    try:
        assert process.stdout is not None
        while "epoch 1/10000" not in (line := process.stdout.readline()):
            assert line, "the run ended by itself"
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()

    assert process.returncode == code
    assert err.splitlines() == [f"edgekd: {what}; complete stages and epochs are kept: run the same command to go on"]
    (partial,) = (tmp_path / "models").iterdir()
    assert partial.name.endswith(".partial")
    assert all(path.name.startswith("epoch-") for path in partial.iterdir())


@pytest.mark.slow
def test_a_run_that_waits_for_another_says_so_and_ends_by_ctrl_c(tmp_path: Path) -> None:
    path = write_pipeline(tmp_path, LONG)
    digest = Pipeline.from_yaml(path).plan(tmp_path / "models")[0].digest
    (tmp_path / "models").mkdir()

    with lock.held(Store(tmp_path / "models").lock(digest), print):
        process = subprocess.Popen(
            [*REAL, "pipeline", "run", path], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            assert process.stdout is not None
            while "another run is making this" not in (line := process.stdout.readline()):
                assert line, "the run ended by itself"
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()
            process.wait()

    assert line.strip() == f"another run is making this (pid {os.getpid()}); waiting"
    assert process.returncode == 130
    assert err.startswith("edgekd: interrupted")
    assert list((tmp_path / "models").iterdir()) == []


@pytest.mark.slow
def test_a_disk_that_has_no_room_for_what_is_shown_is_one_line(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    path = write_pipeline(tmp_path)

    with full.open("w") as out:
        done = subprocess.run(
            [*REAL, "pipeline", "plan", path], cwd=tmp_path, stdout=out, stderr=subprocess.PIPE, text=True
        )

    assert "no space left on device" in done.stderr.splitlines()[0]
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_an_import_says_nothing() -> None:
    code = "from edgekd import Pipeline; import edgekd.quantization"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert (done.stdout, done.stderr) == ("", "")


UNTRAINED = """
    name: untrained
    data: {name: digits, image_size: 8}
    target: {isa: x86-avx2}
    stages:
      - {stage: teacher, model: "tests.tiny:own_network", epochs: 3, batch_size: 256}
      - {stage: prune, pruning_ratio: 0.5}
      - {stage: export}
"""


@pytest.mark.slow
def test_without_a_budget_a_pruned_network_that_learned_nothing_fails_and_a_teacher_alone_is_not_judged(
    tmp_path: Path, edgekd: Command
) -> None:
    path = write_pipeline(tmp_path, UNTRAINED)

    failed = edgekd("pipeline", "run", path)
    alone = edgekd("pipeline", "run", path, "--set", "stages.2.models=[teacher]")

    assert failed.code == 1
    assert "FAIL  teacher (model.onnx) is chosen: No other file keeps up with teacher on val" in failed.out
    assert "prune comes nearest" in failed.out
    assert alone.code == 0
    assert "NO BUDGET  teacher (model.onnx) is recommended: No budget was given." in alone.out


def test_the_version_and_debug_are_told(edgekd: Command) -> None:
    assert edgekd("--version").out == f"edgekd {importlib.metadata.version('edgekd')}\n"
    assert "--debug" in edgekd("--help").out


@pytest.mark.parametrize(("option", "most"), [("--threads", MOST_THREADS), ("--batch", MOST_BATCH)])
def test_a_bench_takes_no_more_than_a_target_may_have(edgekd: Command, option: str, most: int) -> None:
    ended = edgekd("bench", "none.onnx", option, most + 1)

    assert ended.code == 2
    assert f"less than or equal to {most}" in ended.err
    assert "none.onnx: is neither a bundle nor a file" in edgekd("bench", "none.onnx", option, most).err
