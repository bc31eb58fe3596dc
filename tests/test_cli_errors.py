"""Every mistake a user can make is told in one line, with exit code 2 and no traceback."""

import subprocess
import sys
from pathlib import Path

import pytest

from edgekd import cli
from tests.chain import YAML, write_pipeline

SECTION = "stages:"


def fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    """The lines on standard error of a command that must end with exit code 2."""
    monkeypatch.setattr(sys, "argv", ["edgekd", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    text = capsys.readouterr().err
    assert ended.value.code == 2, text
    assert "Traceback" not in text
    return text.splitlines()


def edited(old: str, new: str) -> str:
    assert old in YAML
    return YAML.replace(old, new)


MISTAKES = {
    "unknown key": (edited("epochs: 4", "epoch: 4"), ["stages[0].epoch: unknown key", "did you mean 'epochs'?"]),
    "unknown stage": (edited("stage: prune", "stage: prun"), ["stages[1].stage: unknown stage 'prun'", "'prune'"]),
    "unknown model": (edited("resnet8", "resnet9"), ["stages[0].model: unknown model 'resnet9'", "did you mean"]),
    "unknown dataset": (edited("name: digits", "name: digit"), ["data.name: unknown dataset 'digit'", "'digits'"]),
    "unknown loss": (edited("epochs: 3", "epochs: 3, loss: mse"), ["stages[2].loss", "'kd'", "found 'mse'"]),
    "ratio of one": (
        edited("0.5}\n      - {stage: distill", "1.0}\n      - {stage: distill"),
        ["stages[1].pruning_ratio", "less than 1"],
    ),
    "no ratio": (
        edited("stage: prune, pruning_ratio: 0.5", "stage: prune"),
        ["stages[1]", "pruning_ratio or macs_ratio"],
    ),
    "temperature zero": (
        edited("epochs: 3", "epochs: 3, temperature: 0"),
        ["stages[2].temperature", "greater than 0", "found 0"],
    ),
    "negative alpha": (
        edited("epochs: 3", "epochs: 3, alpha: -1"),
        ["stages[2].alpha", "greater than or equal to 0", "found -1"],
    ),
    "negative beta": (edited("epochs: 2", "epochs: 2, beta: -0.5"), ["stages[3].beta", "found -0.5"]),
    "no epochs": (edited("epochs: 4", "epochs: 0"), ["stages[0].epochs", "greater than or equal to 1", "found 0"]),
    "wrong type": (edited("epochs: 4", "epochs: many"), ["stages[0].epochs", "integer", "found 'many'"]),
    "id twice": (
        edited("stage: distill", "stage: distill, id: teacher"),
        ["stages[2].id: the id 'teacher' is used twice"],
    ),
    "later stage": (
        edited("stage: prune,", "stage: prune, source: distill,"),
        ["stages[1].source: 'distill' is not an earlier stage"],
    ),
    "missing stage": (
        edited("stage: prune,", "stage: prune, source: nobody,"),
        ["stages[1].source: there is no stage 'nobody'"],
    ),
    "integer source": (
        edited("- {stage: export}", "- {stage: distill, id: again}"),
        ["stages[4].source: 'qat' (qat) leaves no float model"],
    ),
    "tag": (edited("name: small", "name: !!python/object:os.system small"), [":2:", "YAML tags are not allowed"]),
    "anchor": (edited("name: small", "name: &a small"), ["anchors"]),
    "syntax": (edited("name: small", "name: [small"), ["not valid YAML"]),
    "key twice": (edited("name: small", "name: small\n    name: big"), [":3:", "the key 'name' is used twice"]),
    "no stages": ("name: small\nstages: []\n", ["stages"]),
    "list": ("- 1\n", ["must be a mapping of keys, found a list"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_file_is_one_line_with_its_place(
    mistake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text, told = MISTAKES[mistake]
    path = write_pipeline(tmp_path, text)

    lines = fails(monkeypatch, capsys, "pipeline", "run", str(path), "--models", str(tmp_path / "m"))

    assert len(lines) == 1
    assert lines[0].startswith(f"edgekd: {path}")
    assert all(part in lines[0] for part in told), lines[0]


def test_every_mistake_of_a_file_is_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_pipeline(tmp_path, edited("epochs: 3", "epochs: 0, temperature: -1"))

    lines = fails(monkeypatch, capsys, "pipeline", "plan", str(path))

    assert [line.split(": ")[2] for line in lines] == ["stages[2].temperature", "stages[2].epochs"]


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("stages.distil.epochs=1", "'distil' does not exist"),
        ("stages.9.epochs=1", "'9' does not exist"),
        ("targets.isa=host", "targets: unknown key"),
        ("stages.qat.epoch=1", "stages[3].epoch: unknown key"),
        ("seed", "is not key.path=value"),
        ("name.first=x", "its parent is text"),
    ],
)
def test_an_override_of_a_key_that_does_not_exist_is_refused(
    override: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_pipeline(tmp_path)

    lines = fails(monkeypatch, capsys, "pipeline", "plan", str(path), "--set", override)

    assert len(lines) == 1
    assert told in lines[0]


def test_a_missing_file_and_a_folder_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = fails(monkeypatch, capsys, "pipeline", "run", str(tmp_path / "none.yaml"))
    folder = fails(monkeypatch, capsys, "pipeline", "run", str(tmp_path))

    assert "none.yaml: cannot be read (no such file or directory)" in missing[0]
    assert "cannot be read (is a directory)" in folder[0]


@pytest.mark.parametrize("option", ["--models", "--exports"])
def test_a_folder_that_cannot_be_written_is_told_before_the_work(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, file = write_pipeline(tmp_path), tmp_path / "file"
    file.write_text("in the way")
    folders = {"--models": str(tmp_path / "m"), "--exports": str(tmp_path / "e"), option: str(file / "below")}

    lines = fails(
        monkeypatch, capsys, "pipeline", "run", str(path), *(part for pair in folders.items() for part in pair)
    )

    assert len(lines) == 1
    assert "cannot be written (not a directory)" in lines[0]


def test_help_is_shown_without_importing_torch_or_pydantic() -> None:
    code = (
        "import sys; sys.argv = ['edgekd', '--help']\n"
        "from edgekd.cli import main\n"
        "try: main()\n"
        "except SystemExit as ended: assert not ended.code\n"
        "assert not {'torch', 'pydantic', 'numpy', 'yaml'} & set(sys.modules)\n"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert "pipeline" in done.stdout


def test_the_real_command_line_ends_with_exit_code_two(tmp_path: Path) -> None:
    path = write_pipeline(tmp_path, edited("epochs: 4", "epochs: 0"))

    command = [sys.executable, "-c", "from edgekd.cli import main; main()", "pipeline", "run", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert [line for line in done.stderr.splitlines() if line.startswith("edgekd: ")] != []
    assert "Traceback" not in done.stderr


def test_doctor_names_the_instruction_set_and_the_probe_s_answer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["edgekd", "doctor"])

    with pytest.raises(SystemExit) as ended:
        cli.main()

    shown = capsys.readouterr().out
    assert ended.value.code == 0
    assert any(isa in shown for isa in ("x86-avx2", "x86-vnni", "arm64"))
    assert "SATURATE" in shown or "exact here" in shown


def test_a_plan_trains_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_pipeline(tmp_path)
    monkeypatch.setattr(sys, "argv", ["edgekd", "pipeline", "plan", str(path), "--models", str(tmp_path / "models")])

    with pytest.raises(SystemExit) as ended:
        cli.main()

    assert ended.value.code == 0
    assert capsys.readouterr().out.count("to do") == 5
    assert not (tmp_path / "models").exists()


def test_every_shipped_pipeline_is_valid_and_begins_with_its_own_command() -> None:
    from edgekd import Pipeline

    shipped = sorted((Path(__file__).parent.parent / "pipelines").glob("*.yaml"))

    assert len(shipped) >= 2
    for path in shipped:
        Pipeline.from_yaml(path)
        assert f"#   edgekd pipeline run pipelines/{path.name}\n" in path.read_text(encoding="utf-8")
