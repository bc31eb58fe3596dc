"""The page's origins: kernels, stages with their settings, data, machine, and how the figures were measured."""

from edgekd.ondevice.latency import REPEATABILITY, SAME_FILE
from edgekd.report import wording as w
from edgekd.report.fitting import KEEPS_UP
from edgekd.report.page.markup import NOTHING, Html, el, join
from edgekd.report.page.parts import definitions, pairs
from edgekd.report.roles import integer_share
from edgekd.report.schema import ModelReport, Report, StageReport
from edgekd.significance import SIGNIFICANT


def kernels(report: Report) -> Html:
    """Every operator of each optimised graph; for integer files also the float kernels that are left, by layer."""
    groups: dict[str, list[ModelReport]] = {}
    for model in report.models:
        if model.kernels.ops:
            groups.setdefault(f"{model.precision} {model.kernels.ops}", []).append(model)
    return join(_census(models) for models in groups.values())


def _census(models: list[ModelReport]) -> Html:
    """Files whose graphs have the same operators, under one heading."""
    first, names = models[0], ", ".join(model.id for model in models)
    ops = sorted(first.kernels.ops.items(), key=lambda op: (-op[1], op[0]))
    chips = [el("span", op, el("b", f" × {number}"), class_="chip") for op, number in ops]
    islands = [_islands(model) for model in models]
    return el("div", el("h3", names, el("small", _census_words(first))), el("p", *chips), *islands, class_="block")


def _census_words(model: ModelReport) -> str:
    share = integer_share(model)
    if model.precision == "float32" or share is None:
        return f" {model.kernels.float} float kernels"
    return f" {model.kernels.integer} integer, {model.kernels.float} float: {w.percent(share)} integer"


def _islands(model: ModelReport) -> Html:
    if model.precision == "float32" or not model.kernels.float_ops:
        return NOTHING
    items = [el("li", el("code", op)) for op in model.kernels.float_ops]
    return el("div", el("p", f"Float kernels left in {model.id}:", class_="muted"), el("ul", *items, class_="islands"))


def stages(report: Report) -> Html:
    return join(_stage(stage) for stage in report.stages)


def _stage(stage: StageReport) -> Html:
    settings = {key: value for key, value in stage.settings.items() if key not in ("stage", "id")}
    notes = el("ul", *(el("li", note) for note in stage.notes), class_="notes quiet") if stage.notes else NOTHING
    digest = el("code", f"digest {stage.digest[:16]}", title=stage.digest)
    head = el("h3", el("span", stage.id, el("small", _outcome(stage))), digest)
    return el("div", head, pairs(settings), pairs(stage.facts), notes, class_="block stage")


def _outcome(stage: StageReport) -> str:
    kind = [stage.stage] if stage.stage != stage.id else []
    accuracy = [] if stage.val_accuracy is None else [f"validation accuracy {w.percent(stage.val_accuracy)}"]
    return f" {', '.join([*kind, w.seconds(stage.seconds), *accuracy])}"


def data_and_environment(report: Report) -> Html:
    groups = [("Data", _data(report)), ("Target", _target(report)), ("Environment", definitions(report.environment))]
    thirds = [el("div", el("h3", title), rows) for title, rows in groups]
    files = definitions({model.file: model.sha256 for model in report.models}, "files")
    return join([el("div", *thirds, class_="thirds"), el("h3", "SHA-256 of each file"), files])


def _data(report: Report) -> Html:
    data = report.data
    splits = {"train": data.train, "val": data.val, "test": data.test}
    return definitions(
        {
            "name": data.name,
            **{split: f"{number:,} images" for split, number in splits.items()},
            "classes": data.classes,
            "image_size": f"{data.image_size} × {data.image_size}",
            "fingerprint": el("code", data.fingerprint[:16], title=data.fingerprint),
        }
    )


def _target(report: Report) -> Html:
    target = report.target
    declared = "" if target.declared_isa == target.isa else f" (declared: {target.declared_isa})"
    return definitions(
        {
            "isa": f"{target.isa}{declared}",
            "cpu": target.cpu,
            "threads": target.threads,
            "batch": target.batch,
            "onnxruntime": target.onnxruntime,
            "saturates": "yes" if target.saturates else "no",
        }
    )


def measuring(report: Report) -> Html:
    target, runs = report.target, sorted({model.latency_ms.runs for model in report.models})
    number = f"{runs[0]:,} to {runs[-1]:,} runs" if len(runs) > 1 else f"{runs[0]:,} runs" if runs else "Runs"
    texts = {
        "accuracy": f"The exported file, run by ONNX Runtime {target.onnxruntime} on all {report.data.test:,} test "
        "images. Interval: Wilson's, 95 %.",
        "recommendation": _decided(report),
        "drop": "The teacher's accuracy minus this file's; negative is better. Both see the same images, "
        "so McNemar's exact test says how likely such a difference is by chance. Interval: Newcombe's for paired "
        "shares (1998, method 10), 95 %.",
        "size": "Bytes of the file that ships, in thousands.",
        "latency": f"{number} of each file on {target.cpu}, batch {target.batch}, threads {target.threads}; all files "
        f"in randomly interleaved rounds {_processes(target.processes)}. p50 is the median.",
        "ratio": f"Latency divided by the teacher's in the same rounds, with {_interval(target.processes)}. "
        f"Where the interval covers 1, the report says “{w.NO_DIFFERENCE}”.",
        "MACs, params": "Counted in the exported graph, for one image.",
        "kernels": "Counted in the graph that ONNX Runtime has optimised for this CPU; operators that only move data "
        "are neither integer nor float.",
        "agreement": "Share of validation images on which torch and ONNX Runtime choose the same class.",
    }
    return definitions(texts, "measuring")


def _decided(report: Report) -> str:
    """Which split decided what; reports of before decided on test."""
    if any(model.val_paired is None for model in report.models):
        return "The files were held against the budget, and the recommended one chosen, by their accuracy on test."
    return (
        f"Decided by size, latency and the exported files' answers on the {report.data.val:,} validation images. Only "
        "the chosen file is then held against the budget, by its answers on the test images. A file keeps up with the "
        f"teacher where it is at most {100 * KEEPS_UP:g} point below it on val and McNemar's test finds no difference "
        f"in the teacher's favour (p ≥ {SIGNIFICANT:g}); it must where the budget sets no limit on accuracy."
    )


def _processes(number: int) -> str:
    return "in one process" if number == 1 else f"in {number} processes, one after the other"


def _interval(processes: int) -> str:
    if processes == 1:
        return "a 95 % interval that does not hold what differs between processes: these figures are of an older edgekd"
    return (
        "Student's 95 % interval over the processes, to which what separate measurements differ by adds as "
        f"independent errors do: {100 * REPEATABILITY:g} %, and what processes differ by beyond the "
        f"{100 * SAME_FILE:g} % that they do for a file and its copy"
    )
