"""The guard of an alias: every clause refuses what it has to, names its figure, and is logged."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from google.api_core.exceptions import Forbidden

from guarded_alias import ADA, FULL, GONE, LABELS, LOWER, REF, Guarded
from mlsys.cloud.tables import TableRef
from mlsys.doctor.check import Outcome, failed
from mlsys.errors import Conflict, GuardRefused, InvalidRequest, ModelNotFound, ModelUnusable
from workers import checks
from workers.inference.verdict import Verdict
from workers.registry import evidence, guard, verify
from workers.registry.alias_sync import converge_alias, rescan_aliases
from workers.registry.broken import broken
from workers.registry.clauses import Clause
from workers.registry.move import MoveRequest, aliases_now
from workers.scoring.planning.model_pin import find_model
from workers.scoring.request.parsed import ScoringRequest

MOVED = {"movers", "why", "ready", "golden_rows", "runs", "shadow"}
Change = Callable[[Guarded], object]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Guarded:
    it = Guarded()
    monkeypatch.setattr(verify, "verifier", lambda: it)
    return it


def metrics(**values: Any) -> Change:
    return lambda world: world.describe("v2", **{"auc": 0.89, "rmse": 1.0} | values)


def golden(verdict: Verdict | Exception) -> Change:
    return lambda world: world.verdicts.update(v2=verdict)


def without_runs(world: Guarded) -> None:
    world.cloud.ledgers[LOWER].clear()


def runs_that_do_not_count(world: Guarded) -> None:
    """Leave two that count, and add others: failed, without rows, of other bytes or versions."""
    world.cloud.ledgers[LOWER].pop()
    world.run("v2", LOWER, state="failed")
    world.run("v2", LOWER, state="cancelled")
    world.run("v2", LOWER, rows_scored=0)
    world.run("v2", LOWER, model_crc32c="other")
    world.run("v2", model_generation=1)
    world.run("v2", LOWER, model_name="other")
    world.run("v3", LOWER)


def reports_that_do_not_count(world: Guarded) -> None:
    """Leave none that counts: of another champion, of a file that was replaced, or unreadable."""
    world.cloud.runs.objects.clear()
    world.shadow_run("v3", "v2", rows=1000, equal=1000)
    world.shadow_run("v1", "v3", rows=1000, equal=1000)
    for content in (b"?", b"{}", b"[]", b'{"shadow": null}', b'{"shadow": {"report": null}}'):
        name = world.run("v1", shadow="v2")
        world.cloud.runs.put(f"{name}/result.json", content=content)
    world.run("v1", shadow="v2")  # without a result


def less_agreement(world: Guarded) -> None:
    world.shadow_run("v1", "v2", rows=200, equal=150)


def unreadable_ledger(world: Guarded) -> None:
    world.cloud.ledger_faults[LOWER] = Forbidden("secret words of Google")


def missing_ledger(world: Guarded) -> None:
    del world.cloud.ledgers[LOWER]


def champion_without_metrics(world: Guarded) -> None:
    world.guard_by({})
    world.upload("v1", rmse=1)
    world.ask("v3")
    world.ask("v1")
    world.guard_by(FULL | {"shadow": None})


def rejected(world: Guarded) -> None:
    world.cloud.verdict = "rejected", "its golden rows differ"


def unregistered(world: Guarded) -> None:
    """Replace model.pkl: the registry's row is about another generation."""
    run = world.cloud.bigquery.query

    def stale(sql: str, **options: Any) -> Any:
        answer = run(sql, **options)
        if "FROM model_registry" not in sql:
            return answer
        row = {"generation": 5, "status": "ready", "status_reason": None}
        return type(answer)(result=lambda **_: [row])

    world.cloud.bigquery.query = stale


def nobody(world: Guarded) -> None:
    world.guard_by(FULL | {"movers": []})


def nothing(world: Guarded) -> None: ...


REFUSED: dict[str, tuple[Change, dict[str, Any], str, Any]] = {
    # What differs, what is asked, the clause that refuses, and the figure that it names
    "another person": (nothing, {"who": "eve@example.com"}, "movers", "eve@example.com"),
    "a longer e-mail": (nothing, {"who": f"x{ADA}"}, "movers", f"x{ADA}"),
    "a shorter e-mail": (nothing, {"who": ADA[:-1]}, "movers", ADA[:-1]),
    "other letters": (nothing, {"who": ADA.upper()}, "movers", ADA.upper()),
    "two e-mails": (nothing, {"who": f"{ADA},x@y"}, "movers", f"{ADA},x@y"),
    "an e-mail with a space": (nothing, {"who": f"{ADA} "}, "movers", f"{ADA} "),
    "somebody, by force": (nothing, {"who": "eve@example.com", "force": True}, "movers", None),
    "nobody may": (nobody, {}, "movers", ADA),
    "no reason": (nothing, {"why": None}, "why", None),
    "an empty reason": (nothing, {"why": ""}, "why", ""),
    "a blank reason": (nothing, {"why": " \n\t"}, "why", " \n\t"),
    "a rejected version": (rejected, {}, "ready", "rejected"),
    "a rejected version, by force": (rejected, {"force": True}, "ready", "rejected"),
    "an unregistered version": (unregistered, {}, "ready", "not registered"),
    "golden rows differ": (golden(Verdict("rejected", "row 1")), {}, "golden_rows", 0),
    "golden rows, by force": (golden(Verdict("rejected", "1")), {"force": True}, "golden_rows", 0),
    "no golden rows": (golden(Verdict("ready")), {}, "golden_rows", 0),
    "unread golden rows": (golden(Verdict("ready", "not replayed")), {}, "golden_rows", 0),
    "it ends its sandbox": (
        *(golden(Verdict("rejected", "it ended", crashed="signal 9")), {}, "golden_rows", 0),
    ),
    "it cannot be loaded": (golden(ModelUnusable("it is not signed")), {}, "golden_rows", 0),
    "it is gone": (golden(GONE), {}, "golden_rows", 0),
    "too few runs": (without_runs, {}, "runs", 1),
    "too few runs, by force": (without_runs, {"force": True}, "runs", 1),
    "other runs": (runs_that_do_not_count, {}, "runs", 2),
    "a ledger is denied": (unreadable_ledger, {}, "runs", 1),
    "a ledger is missing": (missing_ledger, {}, "runs", 1),
    "a metric is low": (metrics(auc=0.7999), {}, "metrics.auc.at_least", 0.7999),
    "a metric is low, by force": (metrics(auc=0), {"force": True}, "metrics.auc.at_least", 0),
    "a metric is missing": (metrics(auc=None), {}, "metrics.auc.at_least", None),
    "a metric is text": (metrics(auc="0.95"), {}, "metrics.auc.at_least", None),
    "a metric is true": (metrics(auc=True), {}, "metrics.auc.at_least", None),
    "a metric is infinite": (metrics(auc=float("inf")), {}, "metrics.auc.at_least", None),
    "a metric is a list": (metrics(auc=[0.95]), {}, "metrics.auc.at_least", None),
    "a metric is elsewhere": (
        *(metrics(auc=None, test={"auc": 0.95}), {}, "metrics.auc.at_least", None),
    ),
    "a metric is high": (metrics(rmse=2.1), {}, "metrics.rmse.at_most", 2.1),
    "worse than the champion": (metrics(auc=0.87), {}, "metrics.auc.worse_by", 0.03),
    "the champion lacks it": (champion_without_metrics, {}, "metrics.auc.worse_by", None),
    "no metadata": (
        lambda world: world.cloud.bucket.delete("m/v2/metadata.json"),
        *({}, "metrics.rmse.at_most", None),
    ),
    "no report of a challenger": (reports_that_do_not_count, {}, "shadow", {"rows": 0}),
    "less agreement": (less_agreement, {}, "shadow", {"agreement": 0.85}),
    "less agreement, by force": (less_agreement, {"force": True}, "shadow", {"rows": 400}),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("dry_run", [False, True], ids=["", "dry"])
def test_a_move_is_refused_by_the_right_clause(
    name: str, dry_run: bool, world: Guarded, caplog: pytest.LogCaptureFixture
) -> None:
    change, asked, clause, seen = REFUSED[name]
    change(world)
    caplog.clear()
    before = world.log, world.records
    with pytest.raises(GuardRefused) as caught:
        world.ask(dry_run=dry_run, **asked)
    error = caught.value
    failed = {each["name"]: each for each in error.clauses if not each["ok"]}
    assert clause in failed
    figure = failed[clause]["seen"]
    if isinstance(seen, dict):
        assert seen.items() <= figure.items()
    elif seen is not None:
        assert figure == (pytest.approx(seen) if isinstance(seen, float) else seen)
    assert f"{clause}: {failed[clause]['problem']}" in str(error)
    assert "secret" not in str(error)
    assert world.named == "v1" and (world.log, world.records) == before
    [record] = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert (record.event, record.alias) == ("alias.refused", "m/champion")  # type: ignore[attr-defined]
    assert record.clauses == error.clauses  # type: ignore[attr-defined]


def test_every_clause_is_named_also_those_that_hold(world: Guarded) -> None:
    with pytest.raises(GuardRefused) as caught:
        world.ask("v3", who="eve@example.com", why=None)
    clauses = {each["name"]: each["ok"] for each in caught.value.clauses}
    bounds = {f"metrics.{n}" for n in ("auc.at_least", "auc.worse_by", "rmse.at_most")}
    assert clauses.keys() == MOVED | bounds
    assert {name for name, ok in clauses.items() if ok} == {"ready", "golden_rows"}
    assert "Satisfied: ready, golden_rows" in str(caught.value)


def test_a_move_that_the_guard_allows_is_logged_with_every_figure(world: Guarded) -> None:
    assert world.ask(dry_run=True).evidence["guard"] and world.named == "v1"
    done = world.ask()
    assert (done.moved, world.named) == (True, "v2")
    row = world.log[-1]
    assert (row["guarded"], row["who"], row["source"]) == (True, ADA, "service")
    assert {each["name"]: each["seen"] for each in row["evidence"]["guard"]} == {
        "movers": ADA,
        "why": "better",
        "ready": "ready",
        "golden_rows": 5,
        "runs": 3,
        "metrics.auc.at_least": 0.89,
        "metrics.auc.worse_by": pytest.approx(0.01),
        "metrics.rmse.at_most": 1.0,
        "shadow": {"agreement": 0.95, "rows": 200, "runs": 1},
    }
    assert row["evidence"]["metrics"] == {"auc": 0.89, "rmse": 1.0}
    assert world.ask().moved is False  # it stands, and nothing is asked again
    assert world.cloud.announced[-1] == "m/champion"


def test_an_unreadable_ledger_does_not_matter_if_the_others_suffice(world: Guarded) -> None:
    unreadable_ledger(world)
    world.run("v2")
    world.run("v2")
    assert world.ask().moved


def test_a_removal_needs_its_mover_and_its_reason_alone(world: Guarded) -> None:
    for asked, clause in (({"who": "eve@example.com"}, "movers"), ({"why": None}, "why")):
        with pytest.raises(GuardRefused, match=f"refuses the removal. {clause}"):
            world.ask(None, **asked)
    assert world.named == "v1"
    assert world.ask(None).moved and world.named is None
    assert world.log[-1]["guarded"] is True


def test_removing_the_alias_first_spares_no_comparison(world: Guarded) -> None:
    world.ask(None)
    metrics(auc=0.87)(world)
    with pytest.raises(GuardRefused, match="v2 has 0.87, and v1 has 0.9: worse by 0.03"):
        world.ask()


def test_the_champions_metrics_are_those_of_its_own_move(world: Guarded) -> None:
    """Its author can replace its metadata.json, and put another file in its place."""
    metrics(auc=0.87)(world)
    world.describe("v1", auc=0.1)
    with pytest.raises(GuardRefused, match="v1 has 0.9"):
        world.ask()
    world.cloud.bucket.put(REF.path, content=b'{"version": "v3"}')
    with pytest.raises(GuardRefused, match="v1 has 0.9"):
        world.ask()


def test_the_first_version_has_nothing_to_be_compared_with(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Guarded(FULL)
    monkeypatch.setattr(verify, "verifier", lambda: world)
    request = replace(_request(world), ref=replace(REF, alias="other"))
    world.guard_by(FULL, "other")
    done = guard.check(world.cloud, "dev", request)  # type: ignore[arg-type]
    assert {each["name"]: each["seen"] for each in done["guard"]}["shadow"] is None


def _request(world: Guarded) -> guard.Move:
    return guard.Move(REF, "v2", ADA, "better", False)


def test_a_guard_of_one_model_counts_alone(world: Guarded) -> None:
    world.guard_by({"movers": ["eve@example.com"]}, "m/champion")
    assert world.cloud.settings.alias_guard("dev", "other", "champion") is None
    with pytest.raises(GuardRefused, match="ask eve@example.com"):
        world.ask()
    world.guard_by(FULL, "other/champion")
    assert world.ask("v3", who="eve@example.com", why=None).moved


def test_without_a_guard_force_still_needs_a_reason_and_a_file(world: Guarded) -> None:
    rejected(world)
    for asked, error in (
        ({"force": True, "why": None}, InvalidRequest),
        ({"version": "v9", "force": True}, ModelNotFound),
    ):
        with pytest.raises(error):
            world.ask(**asked)


# Between the check and the move


@pytest.mark.parametrize("deleted", [False, True])
def test_a_version_that_is_uploaded_again_during_the_move_is_refused(
    deleted: bool, world: Guarded
) -> None:
    def upload(new: Any, old: Any) -> None:
        world.cloud.runs.written = lambda new, old: None
        if deleted:
            world.cloud.bucket.delete("m/v2/model.pkl")
        else:
            world.cloud.bucket.put("m/v2/model.pkl")

    world.cloud.runs.written = upload  # when the move is recorded: the guard has answered
    with pytest.raises(Conflict, match="m/v2 was uploaded again, or deleted, while champion was"):
        world.ask(request_id="a" * 32)
    assert world.named == "v1"
    with pytest.raises((GuardRefused, ModelNotFound)):  # the recorded evidence is not of this file
        world.ask(request_id="a" * 32)
    if not deleted:
        world.guard_by({})
        with pytest.raises(Conflict, match="was uploaded again"):
            world.ask(request_id="a" * 32)
    assert world.named == "v1"


def test_the_golden_rows_of_a_file_that_is_replaced_meanwhile_do_not_count(world: Guarded) -> None:
    verdict = world.verdict

    def replaced(*arguments: Any, **options: Any) -> Verdict:
        world.cloud.bucket.put("m/v2/model.pkl")
        return verdict(*arguments, **options)

    world.verdict = replaced  # type: ignore[method-assign]
    with pytest.raises(Conflict, match="uploaded again"):
        world.ask()


def test_a_file_uploaded_after_the_move_is_not_scored_by_the_alias(world: Guarded) -> None:
    """The object names the generation that the guard judged; by the version it can be scored."""
    world.ask()
    table = TableRef("p", "d", "t")
    request = ScoringRequest("dev", table, table, "m", "champion")
    clients: Any = world.cloud
    assert find_model(clients, request).version == "v2"
    world.upload("v2", auc=0.89, rmse=1)
    with pytest.raises(ModelUnusable, match="m/v2 was uploaded again after champion was moved"):
        find_model(clients, request)
    with pytest.raises(GuardRefused, match="runs: 0 of 3 runs of v2"):
        world.ask()  # not answered as a move that changes nothing
    assert find_model(clients, request.for_version("v2")).version == "v2"
    world.guard_by({}, "other")
    assert find_model(clients, request).version == "v2"


def test_of_two_moves_that_the_guard_allows_one_takes_effect(world: Guarded) -> None:
    def other(new: Any, old: Any) -> None:
        world.cloud.runs.written = lambda new, old: None
        world.ask("v2", who="ben@example.com")

    world.cloud.runs.written = other
    with pytest.raises(Conflict, match="moved by ben@example.com"):
        world.ask()
    assert [row["who"] for row in world.log] == [ADA, "ben@example.com"]


# Past the guard


@pytest.mark.parametrize("by", [converge_alias, rescan_aliases])
def test_a_file_past_the_guard_counts_and_is_marked_logged_and_announced(
    by: Any, world: Guarded, caplog: pytest.LogCaptureFixture
) -> None:
    content = {"version": "v3", "guarded": True, "evidence": {"guard": []}}
    world.cloud.bucket.put(REF.path, content=json.dumps(content).encode())
    arguments = (world.cloud, "dev", REF) if by is converge_alias else (world.cloud, "dev")
    announced = len(world.cloud.announced)
    by(*arguments)
    by(*arguments)
    assert [row.get("guarded") for row in world.log] == [None, False]
    [record] = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert "m/champion was set to v3 in the bucket of dev past its guard" in record.getMessage()
    assert record.event == "alias.unguarded"  # type: ignore[attr-defined]
    assert world.cloud.announced[announced:] == ["m/champion"]
    [now] = aliases_now(world.cloud, "dev", "m", "champion")  # type: ignore[arg-type]
    assert (now.version, now.guarded) == ("v3", False)


def test_a_deletion_past_the_guard_is_marked(
    world: Guarded, caplog: pytest.LogCaptureFixture
) -> None:
    world.cloud.bucket.delete(REF.path)
    converge_alias(world.cloud, "dev", REF)  # type: ignore[arg-type]
    assert [(row["deleted"], row.get("guarded")) for row in world.log] == [
        (False, None),
        (True, False),
    ]
    assert "m/champion was deleted in the bucket of dev past its guard" in caplog.text


def test_a_copy_of_an_object_that_the_guard_allowed_is_past_it(world: Guarded) -> None:
    world.ask()
    copied = world.cloud.bucket.objects[REF.path].content
    world.ask(None)
    world.cloud.bucket.put(REF.path, content=copied)
    converge_alias(world.cloud, "dev", REF)  # type: ignore[arg-type]
    assert [row.get("guarded") for row in world.log] == [None, True, True, False]


def test_a_file_past_the_guard_can_be_judged_where_it_is(world: Guarded) -> None:
    world.cloud.bucket.put(REF.path, content=b'{"version": "v2"}')
    done = world.ask()
    assert (done.moved, done.version, done.previous_version) == (True, "v2", "v2")
    assert [row.get("guarded") for row in world.log] == [None, False, True]
    world.cloud.bucket.put(REF.path, content=b'{"version": "v3"}')
    with pytest.raises(GuardRefused):
        world.ask("v3")


def test_the_log_keeps_what_was_true_when_a_guard_is_changed(world: Guarded) -> None:
    world.ask()
    world.cloud.settings = replace(world.cloud.settings, alias_guards=())
    world.ask("v3")
    world.guard_by(FULL)
    rescan_aliases(world.cloud, "dev")  # type: ignore[arg-type]
    assert [row.get("guarded") for row in world.log] == [None, True, None]


# Aliases by which nothing can be scored


def problem(world: Guarded) -> str | None:
    clients: Any = world.cloud
    why = broken(clients, "dev", aliases_now(clients, "dev", "m"))
    assert why == broken(clients, "dev", aliases_now(clients, "dev"))
    return why.get("m/champion")


def test_an_alias_is_broken_if_its_version_is_gone_or_is_not_what_was_judged(
    world: Guarded,
) -> None:
    assert problem(world) is None
    world.cloud.bucket.delete("m/v1/model.pkl")
    assert problem(world) == "m/v1/model.pkl does not exist: it has v3, v2"
    world.ask()
    assert problem(world) is None
    world.upload("v2")
    assert problem(world) == "m/v2/model.pkl was uploaded again after its guard judged it"
    world.guard_by({}, "other")
    assert problem(world) is None
    world.cloud.bucket.put(REF.path, content=b"?")
    assert "it is not JSON" in str(problem(world))
    world.cloud.bucket.put(REF.path, content=b'{"version": "v10"}')
    for version in ("v1", "v2", "v3"):
        world.cloud.bucket.objects.pop(f"m/{version}/model.pkl", None)
    assert problem(world) == "m/v10/model.pkl does not exist: it has no version"


def test_the_check_of_aliases_names_those_that_are_broken_or_past_their_guard(
    world: Guarded,
) -> None:
    def checked() -> Outcome:
        return checks._Checks(world.cloud, "dev")._all_usable()  # type: ignore[arg-type]

    assert checked().state == "ok"
    world.cloud.bucket.put(REF.path, content=b'{"version": "v3"}')
    assert checked() == failed(
        "m/champion: it was changed in the bucket past its guard.",
        "mlsys alias set m champion VERSION --env dev",
    )
    world.cloud.bucket.delete("m/v3/model.pkl")
    for number in range(11):
        world.cloud.bucket.put(f"a{number}/aliases/b.json", content=b'{"version": "v1"}')
    seen = checked().seen
    assert "a0/b: a0/v1/model.pkl does not exist: it has no version;" in seen
    assert seen.endswith("; and 2 more.")


# Weaker guards: the cases above find each of them


def lifted_by_force(patch: pytest.MonkeyPatch) -> None:
    refuse = guard._refuse
    patch.setattr(
        guard, "_refuse", lambda env, move, about: None if move.force else refuse(env, move, about)
    )


def by_part_of_the_email(patch: pytest.MonkeyPatch) -> None:
    def contains(of: Any, who: str) -> Clause:
        ok = any(who in each or each in who for each in of.movers)
        return Clause("movers", [], who, None if ok else "x")

    patch.setattr(guard.clauses, "movers", contains)


def by_the_version_alone(patch: pytest.MonkeyPatch) -> None:
    count = evidence.runs_by_ledger

    def any_bytes(clients: Any, env: str, model: Any, ledgers: Any) -> Any:
        counts = dict(count(clients, env, model, ledgers))
        rows = [row for name in counts for row in clients.ledgers.get(name, [])]
        return {"all": sum(row["model_version"] == model.model_version for row in rows)}

    patch.setattr(guard, "runs_by_ledger", any_bytes)


def unreadable_passes(patch: pytest.MonkeyPatch) -> None:
    count = evidence.runs_by_ledger
    patch.setattr(
        *(guard, "runs_by_ledger"),
        lambda *arguments: {k: 99 if v is None else v for k, v in count(*arguments).items()},
    )


@pytest.mark.parametrize(
    ("design", "name"),
    [
        (lifted_by_force, "too few runs, by force"),
        (by_part_of_the_email, "a longer e-mail"),
        (by_the_version_alone, "other runs"),
        (unreadable_passes, "a ledger is denied"),
    ],
)
def test_the_cases_expose_a_weaker_guard(
    design: Callable[[pytest.MonkeyPatch], None],
    name: str,
    world: Guarded,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    design(monkeypatch)
    change, asked, _, _ = REFUSED[name]
    change(world)
    assert world.ask(**asked).moved


def test_the_request_is_all_that_the_guard_is_asked(world: Guarded) -> None:
    """Who asks is the verified account: neither the request nor the artifact names it."""
    names = set(MoveRequest.__dataclass_fields__)
    assert names == {
        *("ref", "version", "who", "request_id", "expected", "why", "force", "dry_run"),
    }


def test_metrics_measured_by_labels_count_for_the_file_that_was_evaluated(world: Guarded) -> None:
    bounds = {"auc": {"at_least": 0.8, "worse_by": 0.02}, "rows": {"at_least": 50}}
    metrics = {f"measured.{name}": each for name, each in bounds.items()}
    world.guard_by({"metrics": metrics, "labels": LABELS})
    world.describe("v2", measured={"auc": 1.0, "rows": 1000}, **{"measured.auc": 1.0})
    world.measure("v2", labels="p.d.of_its_own.label", rows=60, auc=1.0)
    with pytest.raises(GuardRefused, match="v2 has no such metric, and at least 0.8 is needed"):
        world.ask()
    world.measure("v2", rows=60, auc=0.85)
    with pytest.raises(GuardRefused, match="v1 has no such metric: it cannot be compared"):
        world.ask()
    world.measure("v1", auc=0.9)
    with pytest.raises(GuardRefused, match="v2 has 0.85, and v1 has 0.9: worse by 0.05"):
        world.ask()
    world.measure("v1", auc=0.86)
    assert world.ask().moved
    assert world.log[-1]["evidence"]["metrics"] == {"measured.auc": 0.85, "measured.rows": 60.0}
    world.upload("v2", auc=0.9)  # another file, which was never evaluated
    with pytest.raises(GuardRefused, match=r"measured.rows.at_least: v2 has no such metric"):
        world.ask()
