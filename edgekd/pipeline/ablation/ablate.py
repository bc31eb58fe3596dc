"""Runs an ablation to its end, and writes what is found after each seed."""

from collections.abc import Sequence
from pathlib import Path

from edgekd.bundle.write import add_ablation
from edgekd.config.progress import Progress
from edgekd.pipeline.ablation.figures import ablation
from edgekd.pipeline.ablation.plan import Plan
from edgekd.pipeline.ablation.runs import Ended, ended
from edgekd.pipeline.ablation.time_left import ToDo, Took, seconds_left
from edgekd.pipeline.checks import check_writable
from edgekd.pipeline.pipeline import Outcome
from edgekd.report.ablation.schema import Ablation
from edgekd.report.wording import seconds as in_words
from edgekd.store.artifacts import Store


def ablate(plan: Plan, models: Path, exports: Path, progress: Progress) -> Ablation:
    """Run what is not there yet, and write ``exports/<name>/ablation.json`` and its page.

    Everything that takes long is an artifact of the store, so that a second call only looks things up.

    Args:
        plan: what to run.
        models: folder of the model store.
        exports: folder that holds ``<name>/``.
        progress: informed about every run, and about the time left.

    Raises:
        EdgekdError: the file itself cannot be run, or the disk refuses.
    """
    check_writable(models, exports)
    store, done, found = Store(models), list[Ended](), None
    with store.in_use({digest for run in plan.runs for digest in run.artifacts}):
        for each in ended(plan.runs, models, progress):
            done.append(each)
            progress.note(_so_far(plan, done, store))
            if _whole_seed(plan, done, each.run.seed):
                found = ablation(plan, done)
                add_ablation(exports / found.pipeline, found, progress)
    assert found is not None, "the last run ends a seed"
    return found


def _whole_seed(plan: Plan, done: Sequence[Ended], seed: int) -> bool:
    return sum(each.run.seed == seed for each in done) == sum(run.seed == seed for run in plan.runs)


def _so_far(plan: Plan, done: Sequence[Ended], store: Store) -> str:
    left = _seconds_left(plan, done, store)
    about = f", about {in_words(left)} left" if left else ""
    return f"ablation: {len(done)} of {len(plan.runs)} runs done{about}"


def _seconds_left(plan: Plan, done: Sequence[Ended], store: Store) -> float | None:
    """Of stages that are not there, and of checking and measuring for each run that still needs it."""
    ended_runs = [(each.run.arm, each.outcome) for each in done if isinstance(each.outcome, Outcome)]
    took = [
        Took(arm, name, stage.made.seconds)
        for arm, outcome in ended_runs
        for name, stage in outcome.subject.stages.items()
    ]
    tried = {each.run.label for each in done}
    left = [run for run in plan.runs if run.label not in tried and not _is_there(run.artifacts[-1], store)]
    drafts = [(run.arm, draft) for run in left for draft in run.drafts]
    stages = seconds_left(
        [ToDo(arm, draft.name, draft.digest) for arm, draft in drafts if not _is_there(draft.digest, store)], took
    )
    beside = [each.seconds for each in done if each.seconds is not None]
    return stages + len(left) * sum(beside) / len(beside) if beside and stages is not None else stages


def _is_there(digest: str, store: Store) -> bool:
    # Not verified: it is only for an estimate.
    return store.folder(digest).is_dir()
