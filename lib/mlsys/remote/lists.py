"""The service's lists, page after page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlsys.arguments import kind_of
from mlsys.errors import InvalidRequest
from mlsys.remote.answers import SUMS, page_of
from mlsys.remote.service import Service

PAGE = 1000  # rows that the service gives at most
RUNNING = "running"
COSTS = (  # the members of a month's costs of a model
    *("month", "model_name", "runs", "rows_scored", "bytes_billed", "estimated_cost"),
    "vcpu_seconds",
)


def runs_of(
    service: Service, params: Mapping[str, str], limit: int | None
) -> tuple[list[dict[str, Any]], bool]:
    """Return runs by `pages`; without a `state`, those that still work come first, beside `limit`.

    Raises:
        InvalidRequest, RefusedByService, TryAgain, CredentialsMissing: see `pages`.
    """
    rows, more = pages(service, "/runs", "runs", params, limit)
    if "state" in params:
        return rows, more
    working, _ = pages(service, "/runs", "runs", dict(params) | {"state": RUNNING}, None)
    return working + rows, more


def pages(
    service: Service,
    path: str,
    key: str,
    params: Mapping[str, str],
    limit: int | None,
) -> tuple[list[dict[str, Any]], bool]:
    """Return at most `limit` rows of a list, all if it is None, and whether there are more.

    `key` is the member of an answer that holds its rows.

    Raises:
        InvalidRequest: `limit` is not a number above 0.
        RefusedByService, TryAgain, CredentialsMissing: see `Service.ask`.
    """
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        given = limit if isinstance(limit, int) else f"is {kind_of(limit)}"
        raise InvalidRequest(("limit", f"{given}: pass a number above 0"))
    rows: list[dict[str, Any]] = []
    after: str | None = None
    while True:
        size = PAGE if limit is None else min(PAGE, limit - len(rows))
        page = dict(params) | {"limit": str(size)} | ({"after": after} if after else {})
        answer = service.ask(path, page, fields=[page_of(key)])
        rows += answer[key]
        after = answer.get("next")
        if after is None or not answer[key]:
            return rows, False
        if limit is not None and len(rows) >= limit:
            return rows, True


def costs(
    service: Service, env: str, model_name: str | None = None, months: int | None = None
) -> tuple[list[dict[str, Any]], str]:
    """Return what runs cost, a row for each month and model, and the prices that they follow.

    Raises:
        RefusedByService, TryAgain, CredentialsMissing: see `Service.ask`.
    """
    params = {"env": env, "sum": "month"}
    params |= {"model_name": model_name} if model_name is not None else {}
    params |= {"months": str(months)} if months is not None else {}
    answer = service.ask("/runs", params, fields=[SUMS])
    return list(answer["costs"]), str(answer["price_basis"])
