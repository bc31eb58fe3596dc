"""The trials of a search in Optuna's storage, which any number of processes share."""

import contextlib
import json
import re
import secrets
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import URL

from edgekd.errors import ConfigError
from edgekd.pipeline.search.space import Choice, Dimension, Values
from edgekd.report.search.schema import Tried
from edgekd.store import lock
from edgekd.store.artifacts import Store, digest_of
from edgekd.store.disk import disk_errors
from edgekd.store.lock import LOCK

SamplerName = Literal["tpe", "nsga2", "random"]
DIRECTIONS: tuple[Literal["maximize", "minimize"], ...] = ("maximize", "minimize", "minimize")
"""Of accuracy on val, latency and bytes."""
SQLITE = (".db", ".sqlite")
SQLITE_PATIENCE_SECONDS = 60.0
RANDOM_TRIALS = 6
"""So many trials are drawn at random before TPE learns from them."""
_WORKER, _TRIED, _ABOUT = "worker", "tried", "about"
"""Attributes of a trial: who runs it, what was found; of a study: what it is about."""
_BUDGET = "budget"
"""The constraint, which is kept at 0 and below."""


@dataclass(frozen=True)
class Asked:
    """A trial to run."""

    trial: optuna.Trial
    values: Values

    @property
    def number(self) -> int:
        return self.trial.number


class Trials:
    """What was tried, what others are trying, and what to try next.

    A trial is its worker's for as long as that holds its lock file in the model store, which the system releases
    however the worker ends. So a killed worker's trial is found at once and tried again, and no worker that is only
    slow or suspended loses one, as with Optuna's heartbeats.
    """

    def __init__(self, study: optuna.Study, plan: "Plan", store: Store, worker: str) -> None:
        self._study, self._plan, self._store, self._worker = study, plan, store, worker

    def next(self, wanted: int) -> Asked | None:
        """A trial to run; None where so many as wanted are done or under way."""
        with _alone(self._store, self._study.study_name):
            self._put_back_what_was_left()
            begun = [trial for trial in self._all() if trial.state in _DONE or trial.state == TrialState.RUNNING]
            if len(begun) >= wanted:
                return None
            # Each trial's random numbers follow from its place, whichever worker asks for it.
            self._study.sampler = _sampler(self._plan.sampler, _mixed(self._plan.seed, len(self._all())))
            trial = self._study.ask(_distributions(self._plan.space))
            trial.set_user_attr(_WORKER, self._worker)
            return Asked(trial, _decoded(trial.params, self._plan.space))

    def begin_with(self, values: Values) -> None:
        """Try these values first, if nothing was tried yet."""
        with _alone(self._store, self._study.study_name):
            if not self._all():
                self._study.enqueue_trial(_encoded(values, self._plan.space))

    def tell(self, asked: Asked, tried: Tried) -> None:
        """Write down what was found."""
        with _alone(self._store, self._study.study_name):
            asked.trial.set_user_attr(_TRIED, tried.model_dump(mode="json"))
            asked.trial.set_constraint(_BUDGET, tried.excess)
            found = tried.contender
            if found is None:
                self._study.tell(asked.trial, state=TrialState.PRUNED)
            else:
                values = (found.accuracy, found.latency_ratio.ratio, float(found.size_bytes))
                self._study.tell(asked.trial, values)

    def done(self) -> list[Tried]:
        """What is finished, in order of the trials' numbers."""
        return [Tried.model_validate(trial.user_attrs[_TRIED]) for trial in self._all() if trial.state in _DONE]

    def others(self) -> list[str]:
        """The processes that are running other trials, as ``pid 1234``."""
        running = [trial for trial in self._all() if trial.state == TrialState.RUNNING]
        found = [self._holder(trial) for trial in running if trial.user_attrs.get(_WORKER) != self._worker]
        return [who for who in found if who is not None]

    def _all(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    def _put_back_what_was_left(self) -> None:
        """Have the trials of workers that are gone tried again, with the same values."""
        for trial in self._all():
            if trial.state == TrialState.RUNNING and self._holder(trial) is None:
                self._study.tell(trial.number, state=TrialState.FAIL)
                self._study.enqueue_trial(trial.params)

    def _holder(self, trial: FrozenTrial) -> str | None:
        # A trial without a worker is of one that was killed between two writes: asking is done under the study's lock.
        worker = trial.user_attrs.get(_WORKER)
        return lock.holder(_place(self._store, worker)) if worker else None


_DONE = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(frozen=True)
class Plan:
    """What a search is.

    Args:
        name: of the study.
        storage: a URL as SQLAlchemy has it, or a file: SQLite's where it ends in .db, else a journal.
        about: a digest of everything but the values of trials; a study of anything else is refused.
        space: what is varied.
        sampler: who proposes values.
        seed: of what it draws.
    """

    name: str
    storage: str
    about: str
    space: Mapping[str, Dimension]
    sampler: SamplerName
    seed: int


@contextlib.contextmanager
def trials_of(plan: Plan, store: Store) -> Iterator[Trials]:
    """Take part in a search, which is begun if there is none of this name.

    Args:
        plan: what it is.
        store: the model store, where workers hold locks.

    Raises:
        ConfigError: the storage cannot be opened, or holds a search about something else.
    """
    worker = secrets.token_hex(8)
    with contextlib.ExitStack() as stack:
        with disk_errors(store.root):
            store.root.mkdir(parents=True, exist_ok=True)
            stack.enter_context(lock.held(_place(store, worker), lambda _: None))
        with _alone(store, plan.name):
            study = _opened(plan)
        yield Trials(study, plan, store, worker)


def _opened(plan: Plan) -> optuna.Study:
    where, name = f"--storage {_without_password(plan.storage)}", plan.name
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        storage = _storage(plan.storage)
        study = optuna.create_study(storage=storage, study_name=name, directions=DIRECTIONS, load_if_exists=True)
    # SQLAlchemy, its drivers and Optuna raise errors of their own, of no common class.
    except Exception as error:
        lines = str(error).splitlines() or [type(error).__name__]
        remedy = "name a file, or a URL as postgresql://user@host/database whose driver is installed"
        raise ConfigError(where, f"cannot be opened ({lines[0]})", remedy) from None
    known = study.user_attrs.get(_ABOUT, plan.about)
    if known != plan.about:
        problem = f"the search {name!r} that lies there is about other settings, values or images"
        raise ConfigError(where, problem, "name another storage, or delete that one")
    study.set_user_attr(_ABOUT, plan.about)
    return study


def _without_password(storage: str) -> str:
    return re.sub(r"//([^:/@]*):[^@]*@", r"//\1:***@", storage)


def _storage(text: str) -> BaseStorage:
    if "://" in text:
        return RDBStorage(text)
    path = Path(text)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in SQLITE:
        patience = {"connect_args": {"timeout": SQLITE_PATIENCE_SECONDS}}
        url = URL.create("sqlite", database=str(path)).render_as_string(hide_password=False)
        return RDBStorage(url, engine_kwargs=patience)
    return JournalStorage(JournalFileBackend(text))


def _sampler(name: SamplerName, seed: int) -> BaseSampler:
    match name:
        case "tpe":
            return TPESampler(seed=seed, n_startup_trials=RANDOM_TRIALS)
        case "nsga2":
            return NSGAIISampler(seed=seed)
        case "random":
            return RandomSampler(seed)


def _mixed(seed: int, place: int) -> int:
    """A seed of 32 bits; a sum of the two would give searches of neighbouring seeds the same numbers."""
    return zlib.crc32(f"{seed} {place}".encode())


def _distributions(space: Mapping[str, Dimension]) -> dict[str, BaseDistribution]:
    return {key: _distribution(dimension) for key, dimension in space.items()}


def _distribution(dimension: Dimension) -> BaseDistribution:
    if isinstance(dimension, Choice):
        return CategoricalDistribution([_text(value) for value in dimension.any])
    if dimension.whole:
        return IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def _encoded(values: Values, space: Mapping[str, Dimension]) -> dict[str, Any]:
    """Values as Optuna stores them: it knows text and numbers, but no lists, mappings or null."""
    return {key: _text(value) if isinstance(space[key], Choice) else value for key, value in values.items()}


def _decoded(stored: Mapping[str, Any], space: Mapping[str, Dimension]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, dimension in space.items():
        found[key] = json.loads(stored[key]) if isinstance(dimension, Choice) else dimension.written(stored[key])
    return found


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


@contextlib.contextmanager
def _alone(store: Store, name: str) -> Iterator[None]:
    """Be the only process that reads and changes a search; others wait, for milliseconds."""
    with contextlib.ExitStack() as stack:
        with disk_errors(store.root):
            stack.enter_context(lock.held(_place(store, digest_of({"search": name})), lambda _: None))
        yield


def _place(store: Store, name: str) -> Path:
    return store.root / f"{name[:16]}{LOCK}"
