"""Helpers for tests of killed, stopped and concurrent callers: a table, callers, a comparison."""

from __future__ import annotations

import contextlib
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mlsys.contracts import set_contract
from mlsys.local.stack import LocalStack
from rules import Rules
from scoring_cases import Lab, rejected_ids
from workers.scoring.engines import cloud_run_job
from workers.scoring.shards import read_session
from zygote import SECONDS, Caller, Zygote

ROWS = 4_000
STREAMS, PART_ROWS = 2, 800
PARTS = 6  # three of each stream: the rows of two are full parts
BAD = [5, 1_234, 3_998]  # rows that the model cannot score; they are rejected
SCORED = ROWS - len(BAD)
OUTPUTS = ["predict", "predict_proba"]
COMPARED = ["id", "word", "weight", "prediction"]  # and every probability


def table_of(rows: int, width: int = 260, bad: Sequence[int] = ()) -> pd.DataFrame:
    """Return rows with ids of several types, and features; the model cannot score the `bad` ones.

    The local BigQuery splits tables from 1 MB on into several streams.
    """
    rng = np.random.default_rng(7)
    frame = pd.DataFrame({"id": np.arange(rows), "a": rng.normal(size=rows)})
    frame["b"] = rng.normal(size=rows)
    frame["word"] = [f"{'x' * width}{n * 7919 % rows}" for n in range(rows)]
    frame["weight"] = np.where(frame["id"] % 10 == 3, np.nan, rng.normal(size=rows))
    frame.loc[8, "weight"] = -0.0
    frame.loc[list(bad), "b"] = np.nan
    return frame


def fitted(frame: pd.DataFrame) -> Any:
    """Return a classifier of three classes."""
    X = frame[["a", "b"]].head(2_000).dropna()
    classes = np.array(["high", "low", "mid"])[np.digitize(X["a"] + X["b"] ** 2, [0.3, 1.5])]
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(X, classes)


def differences(found: pd.DataFrame, clean: pd.DataFrame) -> list[str]:
    """Return how two outputs differ that should hold the same rows, bit for bit."""
    problems = []
    times = found["id"].value_counts()
    if duplicates := int((times > 1).sum()):
        problems.append(f"{duplicates} ids more than once")
    if missing := len(set(clean["id"]) - set(found["id"])):
        problems.append(f"{missing} ids missing")
    if foreign := len(set(found["id"]) - set(clean["id"])):
        problems.append(f"{foreign} unknown ids")
    if problems:
        return problems
    found, clean = (f.sort_values("id", ignore_index=True) for f in (found, clean))
    for name in [*COMPARED, *(c for c in clean.columns if c.startswith("probability"))]:
        one, other = found[name].to_numpy(), clean[name].to_numpy()
        if one.dtype.kind == "f":
            one, other = one.view(np.uint64), other.view(np.uint64)
        if different := int((one != other).sum()):
            problems.append(f"{different} values of {name} differ")
    return problems


def failing(result: Mapping[str, Any]) -> dict[str, int]:
    """Return how many rows fail each broken clause of the contract."""
    return {broken["clause"]: broken["failing"] for broken in result["contract"]["broken"]}


class Bench:
    """A table to score behind `rules.Rules`, its callers, and the result of a clean run."""

    def __init__(self, stack: LocalStack, rules: Rules, zygote: Zygote) -> None:
        self.lab, self.rules, self.zygote = Lab(stack), rules, zygote
        frame = table_of(ROWS, bad=BAD)
        self.model = fitted(frame)
        self.frame = frame
        self.table = self.lab.put(frame)
        ids = ["id", "word", "weight"]
        self.name = self.lab.upload(self.model, frame[["a", "b"]], id_columns=ids)
        # The contract sets one of the bad rows aside, which the model could not score either.
        ids_but_one = {"column": "id", "check": "notin", "values": [BAD[1]], "action": "reject"}
        weighed = {"column": "weight", "check": "not_null", "action": "warn"}
        contract = {"version": 1, "clauses": [ids_but_one, weighed]}
        set_contract(self.name, "v1", contract)
        for _ in range(2):  # the first caller waits for the zygote
            output = self.output()
            began = time.monotonic()
            outcome = self.start(output).end()
            self.seconds = time.monotonic() - began
            assert outcome.kind == "result", outcome.value
        assert (outcome.value["streams"], outcome.value["shards"]) == (STREAMS, PARTS)
        self.calls = outcome.calls
        self.contract = failing(outcome.value)
        self.clean = self.lab.rows(output)
        self.profile = self.lab.profile(output)
        assert len(self.profile) == 6  # two features, the label, and three probabilities

    @cached_property
    def challenger(self) -> pd.DataFrame:
        """The rows of a run of v2 alone, another version of the model that answers otherwise."""
        frame = self.frame.tail(1_000)
        ids = ["id", "word", "weight"]
        self.lab.upload(fitted(frame), frame[["a", "b"]], self.name, "v2", id_columns=ids)
        params = self.lab.params(self.table, self.name, output_table=self.output())
        params |= {"model_version": "v2", "outputs": ",".join(OUTPUTS)}
        self.lab.here(params | {"max_rejects": str(len(BAD))}).done()
        return self.lab.rows(params["output_table"])

    def shadow_problems(self, output: str, shadow: Mapping[str, Any]) -> list[str]:
        """Return what is wrong with the challenger's rows and its report."""
        assert shadow["report"] is not None, shadow["reason"]
        problems = differences(self.lab.rows(f"{output}_shadow"), self.challenger)
        both = self.clean.merge(self.challenger, on="id", suffixes=("", "_2"))
        one, two = both["prediction"], both["prediction_2"]
        report, (column,) = shadow["report"], shadow["report"]["columns"]
        confusion = {(c["first"], c["shadow"]): c["rows"] for c in column["confusion"]}
        found = [report["rows"], report["equal"], confusion]
        found += [[row["ids"]["id"] for row in report["most_different"]]]
        pairs = Counter(zip(one, two, strict=True))
        expected = [len(both), int((one == two).sum()), pairs, sorted(both["id"][one != two])[:50]]
        return problems + [f"{a} for {b}" for a, b in zip(found, expected, strict=True) if a != b]

    def output(self) -> str:
        """Return the id of an output table that does not exist yet."""
        return self.lab.name("output")

    def start(
        self,
        output: str,
        *,
        at: Mapping[str, Any] | None = None,
        design: str = "",
        pool: bool = False,
        table: str | None = None,
        streams: int = STREAMS,
        part_rows: int = PART_ROWS,
        share: tuple[int, int] | None = None,
        run_id: str = "",
        tasks: int = 0,
        shadow: str | None = None,
    ) -> Caller:
        """Start a caller of the request that writes to `output`.

        `at` is the call at which it ends or stops (see `callers`), `design` the weaker design to
        follow; with `pool` it scores in processes of its own. With a `share`, index and count, it
        is a task of a job for the run; with `tasks` it has a job of at most as many score it.
        """
        params = self.lab.params(table or self.table, self.name, output_table=output)
        request = params | {"outputs": OUTPUTS, "max_rejects": len(BAD), "shadow": shadow}
        environment = self.rules.environment
        if tasks:
            request |= {"engine": "job"}
            environment |= {"MLSYS_JOB_TASKS": str(tasks), "MLSYS_JOB_CPUS": "1"}
        message = {"request": request, "environment": environment}
        message |= {"at": at, "design": design, "pool": pool, "share": share, "run_id": run_id}
        return self.zygote.fork(message | {"streams": streams, "part_rows": part_rows})

    def finish(self, output: str, **options: Any) -> dict[str, Any]:
        """Repeat the request, at most three times, and return its result."""
        for _ in range(3):
            outcome = self.start(output, **options).end()
            if outcome.kind == "result":
                if options.get("table") is None:
                    assert failing(outcome.value) == self.contract
                return outcome.value
            assert outcome.kind == "again", outcome.value
        raise AssertionError(f"the repeated request has no result: {outcome.value}")

    def problems(self, output: str, clean: pd.DataFrame | None = None) -> list[str]:
        """Return what is wrong with the output table, and with the jobs that filled it."""
        problems = self._jobs(output)
        if self.lab.exists(f"{output}_shadow"):
            problems += [f"shadow: {problem}" for problem in self._jobs(f"{output}_shadow")]
        if clean is None:
            clean = self.clean
            problems += [f"rejects: {problem}" for problem in self._jobs(f"{output}_rejects")]
            rejected = rejected_ids(self.lab, f"{output}_rejects")
            problems += [] if rejected == BAD else [f"rejected ids: {rejected}"]
            if self.lab.profile(output) != self.profile:
                problems.append("the rows of prediction_profiles differ")
        return problems + differences(self.lab.rows(output), clean)

    def _jobs(self, table: str) -> list[str]:
        jobs = self.rules.succeeded(table)
        return [] if jobs == 1 else [f"{jobs} load jobs succeeded"]

    def forget(self, output: str) -> None:
        """Drop the output table, its rejects, and its challenger's rows."""
        for table in (output, f"{output}_rejects", f"{output}_shadow"):
            self.lab.clients.bigquery.delete_table(table, not_found_ok=True, timeout=SECONDS)


@contextlib.contextmanager
def open_bench(stack: LocalStack) -> Iterator[Bench]:
    """Yield a bench over the stack, and end everything that it started."""
    zygote = Zygote()
    try:
        with pytest.MonkeyPatch.context() as patch, Rules(stack) as rules:
            for name, value in stack.environment.items():
                patch.setenv(name, value)
            rules.read_api.conduct.message_rows = 300  # other messages at each call
            yield Bench(stack, rules, zygote)
    finally:
        zygote.stop()


def read_in_small_parts(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have two streams of small parts read, and look at jobs often."""
    bench.rules.job_seconds = 0.0
    monkeypatch.setattr(read_session, "PART_ROWS", 800)
    monkeypatch.setattr(read_session, "streams_to_request", lambda *_: (2, 2))
    monkeypatch.setattr(cloud_run_job, "POLL", 0.1)
    monkeypatch.setattr(cloud_run_job, "LOOK", 0.5)


def random_point(rng: random.Random, made: Counter[str]) -> dict[str, Any]:
    """Return a random call to be killed at, of those still ahead: any call, or one that writes.

    `made` counts the calls of earlier callers by name.
    """
    point = {"signal": int(signal.SIGKILL), "moment": rng.choice(["before", "after"])}
    parts = max(0, PARTS - made["PUT part"])
    writes = ["POST part", "PUT part"] if parts else []
    writes += [n for n in ("POST plan.json", "POST session", "POST load") if not made[n]]
    writes += ["POST reject"] if made["POST reject"] < len(BAD) else []
    if writes and rng.random() < 0.4:
        name = rng.choice(writes)
        return point | {"name": name, "number": rng.randint(1, parts) if "part" in name else 1}
    if not made["POST result.json"] and rng.random() < 0.1:
        return point | {"name": "POST result.json", "number": 1}
    return point | {"number": rng.randint(1, 12 + 3 * parts)}


def killed_run(
    bench: Bench, seed: int, kills: int = 5, design: str = "", shadow: str | None = None
) -> Counter[str]:
    """Score a table with callers that are killed, let one finish, and return the kills by phase.

    A third of the kills are at a random time, the others at a random call.
    """
    rng = random.Random(seed)
    bench.rules.job_seconds = rng.choice([0.0, 0.0, 0.15])
    output = bench.output()
    phases: Counter[str] = Counter()
    made: Counter[str] = Counter()
    for _ in range(kills):
        timed = rng.random() < 0.33
        point = None if timed else random_point(rng, made)
        caller = bench.start(output, at=point, design=design, shadow=shadow)
        try:
            if timed:
                time.sleep(rng.uniform(0, 0.7 * bench.seconds))
        finally:
            outcome = caller.end(force=timed)
        assert outcome.kind != "error", f"seed {seed}: {outcome.value}"
        if outcome.kind == "result":
            break
        made.update(name for moment, name in outcome.calls if moment == "before")
        phases[outcome.phase] += outcome.kind == "killed"
    result = bench.finish(output, design=design, shadow=shadow)
    assert result["rows"] == SCORED, f"seed {seed}: {result}"
    problems = bench.problems(output)
    problems += bench.shadow_problems(output, result["shadow"]) if shadow else []
    assert problems == [], f"seed {seed}: {problems}"
    bench.forget(output)
    return phases
