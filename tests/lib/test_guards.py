"""The guards of aliases in the settings: what is read, and what is refused, with its place."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mlsys.artifact.refs import is_alias
from mlsys.errors import SettingsError
from mlsys.settings import Settings
from mlsys.settings.guards import AliasGuard, MetricBounds


def read(value: Any, envs: str = "dev,prod") -> Settings:
    text = value if isinstance(value, str) else json.dumps(value)
    return Settings.from_env(
        {"GCP_PROJECT_ID": "p", "MLSYS_ENVS": envs, "MLSYS_ALIAS_GUARDS": text}
    )


def champion(**guard: Any) -> dict[str, Any]:
    return {"prod": {"champion": guard}}


def test_a_guard_is_of_one_environment_and_one_alias() -> None:
    guard = {"movers": ["a@b.c", "a@b.c"], "metrics": {"auc": {"at_least": 1}}, "shadow": None}
    settings = read({"prod": {"champion": guard, "m/champion": {}}, "dev": {}})
    general = settings.alias_guard("prod", "other", "champion")
    assert general == AliasGuard(movers=("a@b.c",), metrics=(MetricBounds("auc", at_least=1),))
    assert settings.alias_guard("prod", "m", "champion") == AliasGuard()
    for env, model, alias in (("dev", "m", "champion"), ("prod", "m", "challenger")):
        assert settings.alias_guard(env, model, alias) is None
    assert read("").alias_guards == () and read("{}").alias_guards == ()
    assert hash(settings) == hash(read({"prod": {"champion": guard, "m/champion": {}}}))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("{", "is not JSON"),
        ("[" * 20_000, "is not JSON"),
        ('{"prod": {}, "prod": {}}', "prod is there twice"),
        ("[]", r"the value is \[\]: pass an object"),
        ({"staging": {}}, "staging is not a served environment: pass dev, prod"),
        ({"prod": []}, r"prod is \[\]: pass an object"),
        ({"prod": {"Champion": {}}}, "prod.Champion is not an alias"),
        ({"prod": {"latest": {}}}, "prod.latest is not an alias"),
        ({"prod": {"m/v3": {}}}, "prod.m/v3 is not an alias"),
        ({"prod": {"a/b/c": {}}}, "prod.a/b/c is not an alias"),
        ({"prod": {"champion\n": {}}}, "is not an alias"),
        ({"prod": {"champion": None, "x": 1}}, "prod.x is 1: pass an object"),
        (champion(mover=["a@b.c"]), "prod.champion.mover is not a part of a guard: pass movers"),
        (champion(mover=None), "prod.champion.mover is not a part of a guard"),
        (champion(movers="a@b.c"), "prod.champion.movers is 'a@b.c': pass a list of e-mails"),
        (champion(movers=["a@b.c", "ada"]), r"prod.champion.movers\[1\] is 'ada': pass e-mails"),
        (champion(movers=["a@b.c\n"]), r"prod.champion.movers\[0\]"),
        (champion(why="yes"), "prod.champion.why is 'yes': pass true or false"),
        (champion(golden_rows=1), "prod.champion.golden_rows is 1: pass true or false"),
        (champion(runs=3), "prod.champion.runs is 3: pass an object"),
        (champion(runs={"ledgers": []}), "prod.champion.runs lacks at_least"),
        (champion(runs={"at_least": 0}), "prod.champion.runs.at_least is 0: pass a whole number"),
        (champion(runs={"at_least": True}), "prod.champion.runs.at_least is True"),
        (champion(runs={"at_least": 1, "ledgers": ["x"]}), r"runs.ledgers\[0\] is 'x'"),
        (champion(metrics=["auc"]), "prod.champion.metrics is"),
        (champion(metrics={"auc": {}}), "prod.champion.metrics.auc bounds nothing"),
        (champion(metrics={"auc": {"better": "lower"}}), "metrics.auc bounds nothing"),
        (champion(metrics={"auc": {"least": 1}}), "metrics.auc.least is not a part of a guard"),
        (champion(metrics={"auc": {"at_least": "1"}}), "metrics.auc.at_least is '1'"),
        ('{"prod": {"champion": {"metrics": {"a": {"at_least": NaN}}}}}', "a.at_least is nan"),
        ('{"prod": {"champion": {"metrics": {"a": {"at_most": 1e999}}}}}', "a.at_most is inf"),
        (champion(metrics={"auc": {"worse_by": -1}}), "metrics.auc.worse_by is -1: pass 0 or more"),
        (champion(metrics={"auc": {"at_least": 1, "better": "up"}}), "auc.better is 'up'"),
        (champion(metrics={"auc": {"at_least": 1, "better": []}}), r"auc.better is \[\]"),
        (
            champion(metrics={"measured.f1": {"at_least": 1}}),
            "champion lacks labels for measured.f1",
        ),
        (champion(labels="p.d.t.c"), "champion.labels is for metrics that begin with measured."),
        (champion(labels="p.d.t"), "champion.labels is 'p.d.t': pass project.dataset.table.column"),
        (champion(shadow={"rows": 1}), "prod.champion.shadow lacks agreement"),
        (champion(shadow={"agreement": 95}), "prod.champion.shadow.agreement is 95: pass 0 to 1"),
    ],
)
def test_a_guard_that_would_guard_otherwise_is_refused_at_the_start(value: Any, text: str) -> None:
    with pytest.raises(SettingsError, match=f"MLSYS_ALIAS_GUARDS.*{text}") as caught:
        read(value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["champion", "a", "a-1", "latest", "v1", "v0", "7", "v1-a", "latest-2", "A", "-a", ""]
)
def test_the_names_are_those_of_aliases(name: str) -> None:
    try:
        read({"prod": {name: {}}})
    except SettingsError:
        assert not is_alias(name)
    else:
        assert is_alias(name)
