"""The guards of aliases: who may move one, and on what evidence. Terraform sets them.

`MLSYS_ALIAS_GUARDS` is a JSON object of environments. Each has guards by alias, or by model and
alias, `titanic-survival/champion`, which then counts alone:

```json
{"prod": {"champion": {
  "movers": ["ada@example.com"],
  "why": true,
  "golden_rows": true,
  "runs": {"at_least": 3, "ledgers": ["my-staging.mlsys_staging"]},
  "metrics": {"roc_auc": {"at_least": 0.8, "worse_by": 0.01}, "measured.f1": {"at_least": 0.7}},
  "labels": "my-prod.titanic.truth.Survived",
  "shadow": {"agreement": 0.95, "rows": 1000}
}}}
```

A metric is one of metadata.json, or one that `/evaluate` measured, `measured.roc_auc`;
`measured.rows` is on how many rows. `labels` is the column that such a metric is about: everybody
who may evaluate chooses the labels of an evaluation, and others do not count. Every part is
optional, and null is as if it was missing. An unknown part is refused: a misspelt one would guard
nothing.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

VARIABLE = "MLSYS_ALIAS_GUARDS"
HIGHER, LOWER = "higher", "lower"
MEASURED = "measured."  # begins the names of metrics that the service measured by labels
_COUNT = "a whole number above 0"
# The rules of `mlsys.artifact.refs`, which lies above the settings
_NAME = r"[a-z0-9]+(-[a-z0-9]+)*"
_ALIAS = re.compile(rf"({_NAME}/)?(?!(latest|v?[0-9]+)\Z){_NAME}")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
_LABELS = re.compile(r"[a-z0-9.:-]+\.[A-Za-z0-9_]+\.[^.`]+\.[^.`]+")
_LEDGER = re.compile(r"[a-z0-9.:-]+\.[A-Za-z0-9_]+")


@dataclass(frozen=True, slots=True)
class MetricBounds:
    """What a metric of the version must be."""

    name: str
    at_least: float | None = None
    at_most: float | None = None
    worse_by: float | None = None  # at most, than that of the version that the alias named before
    better: str = HIGHER


@dataclass(frozen=True, slots=True)
class AliasGuard:
    """What a move of an alias needs; the version must always be ready, even by force."""

    movers: tuple[str, ...] | None = None  # e-mails, as in the tokens; None: every caller
    why: bool = False  # a reason is required
    golden_rows: bool = False  # the version has some, and they match when it is moved
    runs: int = 0  # that succeeded, at least
    ledgers: tuple[str, ...] = ()  # datasets of lower environments, whose runs count too
    metrics: tuple[MetricBounds, ...] = ()
    labels: str = ""  # project.dataset.table.column that measured metrics are about
    agreement: float | None = None  # with the version that the alias named before, in shadow runs
    shadow_rows: int = 1  # compared in them, at least


# (environment, "champion" or "titanic-survival/champion", guard)
AliasGuards = tuple[tuple[str, str, AliasGuard], ...]


class _Wrong(Exception):
    """A part has the wrong form; the message names its place."""


def read_guards(text: str | None, envs: Sequence[str], errors: list[str]) -> AliasGuards:
    """Return the guards of the variable's value, or add to `errors` what is wrong, and where."""
    if not text:
        return ()
    try:
        value = json.loads(text, object_pairs_hook=_once)
        return tuple(
            (env, name, _guard(values, f"{env}.{name}"))
            for env, guards in _object(value, "", envs, "a served environment").items()
            for name, values in _object(guards, env).items()
        )
    except _Wrong as exc:
        text = "".join(c if c.isprintable() else "?" for c in str(exc))
        errors.append(f"{VARIABLE}: {text}")
    except (ValueError, RecursionError) as exc:
        errors.append(f"{VARIABLE} is not JSON ({exc}): pass what Terraform's alias_guards gives")
    return ()


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise _Wrong(f"one of {', '.join(sorted(values))} is there twice: keep one")
    return values


def _guard(value: Any, place: str) -> AliasGuard:
    if not _ALIAS.fullmatch(place.partition(".")[2]):
        raise _Wrong(f"{place} is not an alias: pass champion, or titanic-survival/champion")
    known = ("movers", "why", "golden_rows", "runs", "metrics", "labels", "shadow")
    values = _object(value, place, known)
    runs = _object(values.get("runs") or {}, f"{place}.runs", ("at_least", "ledgers"))
    shadow = _object(values.get("shadow") or {}, f"{place}.shadow", ("agreement", "rows"))
    metrics = _object(values.get("metrics") or {}, f"{place}.metrics")
    if runs and "at_least" not in runs:
        raise _Wrong(f"{place}.runs lacks at_least: pass the number of runs")
    if shadow and "agreement" not in shadow:
        raise _Wrong(f"{place}.shadow lacks agreement: pass a share, such as 0.95")
    labels = _part(values, "labels", place, _is_column, "project.dataset.table.column", "")
    measured = [name for name in metrics if name.startswith(MEASURED)]
    if measured and not labels:
        raise _Wrong(f"{place} lacks labels for {measured[0]}: name the column that holds them")
    if labels and not measured:
        raise _Wrong(f"{place}.labels is for metrics that begin with {MEASURED}: name one")
    return AliasGuard(
        movers=_texts(values, "movers", place, _EMAIL, "e-mails"),
        why=_part(values, "why", place, _is_bool, "true or false", False),
        golden_rows=_part(values, "golden_rows", place, _is_bool, "true or false", False),
        runs=_part(runs, "at_least", f"{place}.runs", _is_count, _COUNT, 0),
        ledgers=_texts(runs, "ledgers", f"{place}.runs", _LEDGER, "project.dataset names") or (),
        metrics=tuple(_metric(n, v, f"{place}.metrics.{n}") for n, v in metrics.items()),
        labels=labels,
        agreement=_part(shadow, "agreement", f"{place}.shadow", _is_share, "0 to 1", None),
        shadow_rows=_part(shadow, "rows", f"{place}.shadow", _is_count, _COUNT, 1),
    )


def _metric(name: str, value: Any, place: str) -> MetricBounds:
    bounds = ("at_least", "at_most", "worse_by")
    values = _object(value, place, (*bounds, "better"))
    numbers = {each: _part(values, each, place, _is_number, "a number", None) for each in bounds}
    better = _part(values, "better", place, {HIGHER, LOWER}.__contains__, "higher or lower", HIGHER)
    if all(number is None for number in numbers.values()):
        raise _Wrong(f"{place} bounds nothing: pass at_least, at_most or worse_by")
    if (numbers["worse_by"] or 0) < 0:
        raise _Wrong(f"{place}.worse_by is {numbers['worse_by']}: pass 0 or more")
    return MetricBounds(name, **numbers, better=better)


def _object(
    value: Any, place: str, known: Sequence[str] | None = None, kind: str = "a part of a guard"
) -> Mapping[str, Any]:
    """Return the members that are not null, or raise for one that is not known."""
    if not isinstance(value, dict):
        raise _Wrong(f"{place or 'the value'} is {_shown(value)}: pass an object")
    values = {name: each for name, each in value.items() if each is not None}
    for name in value:
        if known is not None and name not in known:
            where = f"{place}.{name}" if place else name
            raise _Wrong(f"{where} is not {kind}: pass {', '.join(known)}")
    return values


def _part(
    values: Mapping[str, Any],
    name: str,
    place: str,
    fits: Callable[[Any], bool],
    wanted: str,
    default: Any,
) -> Any:
    if name not in values:
        return default
    value = values[name]
    if isinstance(value, list | dict) or not fits(value):
        raise _Wrong(f"{place}.{name} is {_shown(value)}: pass {wanted}")
    return value


def _texts(
    values: Mapping[str, Any], name: str, place: str, form: re.Pattern[str], wanted: str
) -> tuple[str, ...] | None:
    if name not in values:
        return None
    given = values[name]
    if not isinstance(given, list):
        raise _Wrong(f"{place}.{name} is {_shown(given)}: pass a list of {wanted}")
    for i, each in enumerate(given):
        if not isinstance(each, str) or not form.fullmatch(each):
            raise _Wrong(f"{place}.{name}[{i}] is {_shown(each)}: pass {wanted}")
    return tuple(dict.fromkeys(given))


def _shown(value: Any) -> str:
    return repr(value)[:80]


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and abs(value) < 1e300 and math.isfinite(value)


def _is_column(value: Any) -> bool:
    return isinstance(value, str) and bool(_LABELS.fullmatch(value))


def _is_count(value: Any) -> bool:
    return _is_number(value) and value == int(value) and value > 0


def _is_share(value: Any) -> bool:
    return _is_number(value) and 0 <= value <= 1
