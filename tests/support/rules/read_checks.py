"""Say what CreateReadSession refuses, with the status and the words of BigQuery where known.

Each rule names its source; [B] marks words that no source quotes.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
import sqlglot
from sqlglot.errors import ParseError, TokenError

from mlsys.columns.names import fold, is_plain

MAX_RESTRICTION = 1 << 20  # bytes
TIME_TRAVEL = dt.timedelta(days=7)  # at most: https://cloud.google.com/bigquery/docs/time-travel
INVALID = grpc.StatusCode.INVALID_ARGUMENT
_QUOTED = re.compile(
    r"""(?:\b[rb]{1,2})?(?:'''.*?'''|\"\"\".*?\"\"\"|'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")""",
    re.IGNORECASE | re.DOTALL,
)
_BACKTICKS = re.compile(r"`((?:\\.|[^`\\])*)`")
# https://cloud.google.com/bigquery/docs/reference/standard-sql/aggregate_functions
_AGGREGATES = (
    "ANY_VALUE|ARRAY_AGG|ARRAY_CONCAT_AGG|AVG|BIT_AND|BIT_OR|BIT_XOR|COUNT|COUNTIF|GROUPING|"
    "LOGICAL_AND|LOGICAL_OR|MAX|MAX_BY|MIN|MIN_BY|STRING_AGG|SUM|APPROX_COUNT_DISTINCT|"
    "APPROX_QUANTILES|APPROX_TOP_COUNT|APPROX_TOP_SUM|CORR|COVAR_POP|COVAR_SAMP|STDDEV|STDDEV_POP|"
    "STDDEV_SAMP|VARIANCE|VAR_POP|VAR_SAMP|HLL_COUNT\\.\\w+"
)
_AGGREGATE = re.compile(rf"\b(?:{_AGGREGATES})\s*\(", re.IGNORECASE)
_NOT_A_FILTER = re.compile(r"\b(?:SELECT|OVER|QUALIFY)\b|;|@", re.IGNORECASE)


@dataclass(frozen=True)
class Refusal:
    """A status other than OK, with its words."""

    code: grpc.StatusCode
    words: str


@dataclass(frozen=True)
class Described:
    """A table as `tables.get` and `rowAccessPolicies.list` describe it."""

    resource: dict[str, Any]
    policies: tuple[dict[str, Any], ...] = ()

    @property
    def name(self) -> str:
        """The table's id as messages have it: project.dataset.table."""
        parts = self.resource["tableReference"]
        return ".".join(parts[key] for key in ("projectId", "datasetId", "tableId"))

    @property
    def columns(self) -> list[str]:
        """The names of the columns, in the table's order."""
        return [field["name"] for field in self.resource.get("schema", {}).get("fields", [])]

    @property
    def created(self) -> dt.datetime:
        """The time of the table's creation, to the millisecond."""
        milliseconds = int(self.resource.get("creationTime", 0))
        return dt.datetime.fromtimestamp(milliseconds / 1000, dt.UTC)


def why_refused(request: Any, table: Described, now: dt.datetime) -> Refusal | None:
    """Return why BigQuery, by whose clock it is `now`, refuses this CreateReadSessionRequest."""
    for check in CHECKS:
        if refusal := check(request, table, now):
            return refusal
    return None


def _counts(request: Any, table: Described, now: dt.datetime) -> Refusal | None:
    """Refuse a negative max_stream_count, and one below preferred_min_stream_count.

    "Must be non-negative", "must be greater than or equal to preferred_min_stream_count"
    (CreateReadSessionRequest). [B]
    """
    most, least = request.max_stream_count, request.preferred_min_stream_count
    if most < 0 or least < 0:
        return Refusal(INVALID, "request failed: the stream count must be non-negative")
    if most and most < least:
        return Refusal(
            INVALID, "request failed: max_stream_count is less than preferred_min_stream_count"
        )
    return None


def _kind(request: Any, table: Described, now: dt.datetime) -> Refusal | None:
    """Refuse views: "you can't use the Storage Read API to read from logical views".

    https://cloud.google.com/bigquery/docs/reference/storage#limitations. [B]
    """
    kind = table.resource.get("type", "TABLE")
    if kind in ("TABLE", "SNAPSHOT", "MATERIALIZED_VIEW"):
        return None
    return Refusal(INVALID, f"request failed: table {table.name} has type {kind}: not supported")


def _access(request: Any, table: Described, now: dt.datetime) -> Refusal | None:
    """Refuse a table with row access policies that do not give full access.

    Full access is a policy with the filter TRUE:
    https://cloud.google.com/bigquery/docs/using-row-level-security-with-features. [B]
    """
    filters = {policy.get("filterPredicate", "").strip("() ") for policy in table.policies}
    if not filters or "TRUE" in {text.upper() for text in filters}:
        return None
    return Refusal(
        grpc.StatusCode.PERMISSION_DENIED,
        f"request failed: Access Denied: Table {table.name}: User does not have full access to "
        "the table, which has row access policies",
    )


def _snapshot(request: Any, table: Described, now: dt.datetime) -> Refusal | None:
    """Refuse a snapshot in the future, beyond time travel, or before the table was created.

    "snapshot_time: the snapshot time of the table. If not set, interpreted as now", within time
    travel; a table that was re-created has no earlier version. [B]
    """
    if "snapshot_time" not in request.read_session.table_modifiers:
        return None
    at = request.read_session.table_modifiers.snapshot_time
    if at > now:
        return Refusal(INVALID, f"request failed: Invalid snapshot time {at}: it is in the future")
    if at < now - TIME_TRAVEL:
        return Refusal(
            INVALID, f"request failed: Invalid snapshot time {at}: it is older than time travel"
        )
    if at < table.created:
        return Refusal(
            INVALID,
            f"request failed: Invalid snapshot time {at} for table {table.name}: it was created "
            f"at {table.created}",
        )
    return None


def _columns(request: Any, table: Described, now: dt.datetime) -> Refusal | None:
    """Refuse to select columns that the table lacks, and flexible names.

    Flexible names "require special handling" with the Storage Read API
    (https://cloud.google.com/bigquery/docs/schemas#column_names), which is described for Avro
    only; a session over all columns is not said to fail. [B]
    """
    selected = [name.split(".")[0] for name in request.read_session.read_options.selected_fields]
    known = {fold(name) for name in table.columns}
    if missing := [name for name in selected if fold(name) not in known]:
        return Refusal(
            INVALID,
            "request failed: The following selected fields do not exist in the table schema: "
            + ", ".join(missing),
        )
    if special := [name for name in selected if not is_plain(name)]:
        return Refusal(INVALID, f"request failed: Invalid field name {special[0]!r}")
    return None


def _restriction(request: Any, table: Described, now: dt.datetime) -> Refusal | None:
    """Refuse what is not a filter over the row alone.

    "Aggregates are not supported … Restricted to a maximum length for 1 MB" (TableReadOptions; the
    words: GoogleCloudDataproc/spark-bigquery-connector#1301). Subqueries are not, either: #278 and
    #345 there.
    """
    text = request.read_session.read_options.row_restriction
    if len(text.encode()) > MAX_RESTRICTION:
        return Refusal(
            INVALID,
            "read_session.read_options.row_restriction exceeded maximum allowed length. Maximum "
            f"bytes allowed: {MAX_RESTRICTION}",
        )
    bare = _BACKTICKS.sub("x", without_strings(text))
    if _NOT_A_FILTER.search(bare) or _AGGREGATE.search(bare) or not _is_sql(text):
        return bad_filter(table, text)
    return None


def _is_sql(text: str) -> bool:
    """Return whether the text is a condition; bqemulator ignores one that it cannot parse."""
    try:
        sqlglot.parse_one(text or "TRUE", dialect="bigquery")
    except (ParseError, TokenError):
        return False
    return True


def _partitions(request: Any, table: Described, now: dt.datetime) -> Refusal | None:
    """Refuse to read all partitions of a table that requires a filter on them.

    The words: https://github.com/coiled/dask-bigquery/issues/56 and
    https://github.com/GoogleCloudPlatform/DataflowTemplates/pull/2273.
    """
    names = required_columns(table.resource)
    if not names or filters_on(request.read_session.read_options.row_restriction, names):
        return None
    return Refusal(
        INVALID, f"request failed: Query error: {no_partition_filter(table.name, names)}"
    )


Check = Callable[[Any, Described, dt.datetime], Refusal | None]
CHECKS: tuple[Check, ...] = (
    _counts,
    _kind,
    _access,
    _columns,
    _restriction,
    _partitions,
    _snapshot,
)


def bad_filter(table: Described, text: str) -> Refusal:
    """Return the refusal of a row restriction that BigQuery cannot evaluate."""
    return Refusal(
        INVALID,
        f"request failed: Row filter for table {table.name} is invalid. Filter is '({text})'",
    )


def required_columns(resource: dict[str, Any]) -> list[str]:
    """Return the columns over which a query needs a filter; none if it needs none."""
    daily, ranges = resource.get("timePartitioning"), resource.get("rangePartitioning")
    if not (
        resource.get("requirePartitionFilter") or (daily or {}).get("requirePartitionFilter", False)
    ):
        return []
    field = (daily or ranges or {}).get("field")
    return [field] if field else ["_PARTITION_LOAD_TIME", "_PARTITIONDATE", "_PARTITIONTIME"]


def no_partition_filter(table: str, names: list[str]) -> str:
    """Return BigQuery's words for a missing filter on the partitions."""
    columns = ", ".join(f"'{name}'" for name in names)
    return (
        f"Cannot query over table '{table}' without a filter over column(s) {columns} that can be "
        "used for partition elimination"
    )


def filters_on(condition: str, names: list[str]) -> bool:
    """Return whether each side of every OR in the condition names one of the columns."""
    bare = _BACKTICKS.sub(r"\1", without_strings(condition))
    wanted = {fold(name) for name in names}
    sides = re.split(r"\bOR\b", bare, flags=re.IGNORECASE)
    return all(wanted & {fold(word) for word in re.findall(r"\w+", side)} for side in sides)


def without_strings(text: str) -> str:
    """Return SQL with an empty string in place of each string literal."""
    return _QUOTED.sub("''", text)
