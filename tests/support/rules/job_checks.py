"""Say which jobs BigQuery refuses that the local one runs, with its reasons and words.

Each rule names its source; [B] marks words that no source quotes.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.errors import ParseError, TokenError

from rules.read_checks import filters_on, no_partition_filter

LOADS_A_DAY = 1500  # for a table: https://cloud.google.com/bigquery/quotas#load_jobs
DML = 22  # statements of a table: 2 run and 20 wait (#data_manipulation_language_statements)
MULTI_REGIONS = {"EU": "EUROPE-", "US": "US-"}
# https://cloud.google.com/bigquery/docs/schemas#column_names
RESERVED = ("_table_", "_file_", "_partition", "_row_timestamp", "__root__", "_colidentifier")
_SIGNS = frozenset("_&%=+:'<>#|-")  # besides letters, digits, marks, dashes, connectors and spaces
_DML = re.compile(
    r"\s*(?:UPDATE|DELETE(?:\s+FROM)?|MERGE(?:\s+INTO)?)\s+`?([\w.-]+)(?:`?\.`?([\w.-]+))?",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class JobError:
    """The error of a job: BigQuery's reason and words."""

    reason: str
    message: str


def bad_name(names: Iterable[str]) -> JobError | None:
    """Refuse names that a column cannot have, and names that are equal without their case.

    https://cloud.google.com/bigquery/docs/schemas#column_names and #flexible-column-names. The
    words: https://github.com/metabase/metabase/issues/17918; for duplicates [B].
    """
    seen: set[str] = set()
    for name in names:
        lower = re.sub("[A-Z]+", lambda match: match[0].lower(), name)
        if not 0 < len(name) <= 300 or lower.startswith(RESERVED) or not all(map(_allowed, name)):
            return JobError(
                "invalid",
                f'Invalid field name "{name}". Fields must contain the allowed characters, and be '
                "at most 300 characters long.",
            )
        if lower in seen:
            return JobError("invalid", f"Duplicate field name: {name}")
        seen.add(lower)
    return None


def _allowed(sign: str) -> bool:
    kind = unicodedata.category(sign)
    return sign in _SIGNS or kind[0] in "LNM" or kind in ("Pc", "Pd", "Zs")


def elsewhere(bucket: str, dataset: str) -> JobError | None:
    """Refuse to load from a bucket that does not lie where the dataset lies.

    "If your dataset's location is set to a value other than the US multi-region, then the Cloud
    Storage bucket must be in the same region or contained in the same multi-region as the dataset"
    (https://cloud.google.com/bigquery/docs/loading-data-cloud-storage-parquet#limitations). The
    words: https://github.com/airbytehq/airbyte/issues/17013.
    """
    source, target = bucket.upper(), dataset.upper()
    if target in ("US", source) or source.startswith(MULTI_REGIONS.get(target, "?")):
        return None
    return JobError(
        "invalid",
        f"Cannot read and write in different locations: source: {bucket}, destination: {dataset}",
    )


def too_many_loads(before: int, most: int) -> JobError | None:
    """Refuse one load more than a table may have in a day.

    https://cloud.google.com/bigquery/quotas#load_jobs; the words:
    https://github.com/pingcap-inc/tidb2dw/issues/91.
    """
    if before < most:
        return None
    return JobError(
        "quotaExceeded",
        "Quota exceeded: Your table exceeded quota for imports or query appends per table. For "
        "more information, see https://cloud.google.com/bigquery/docs/troubleshoot-quotas",
    )


def too_many_statements(table: str, running: int, most: int) -> JobError | None:
    """Refuse one more statement than may run and wait for a table.

    https://cloud.google.com/bigquery/docs/data-manipulation-language#concurrent_jobs; the words:
    https://github.com/m-lab/etl-gardener/issues/293.
    """
    if running <= most:
        return None
    return JobError(
        "resourcesExceeded",
        "Resources exceeded during query execution: Too many DML statements outstanding against "
        f"table {table}, limit is 20",
    )


def changed_table(sql: str) -> str | None:
    """Return the table that an UPDATE, DELETE or MERGE changes; None for other statements."""
    match = _DML.match(sql)
    return ".".join(filter(None, match.groups())) if match else None


def read_tables(sql: str) -> Iterator[tuple[list[str], str]]:
    """Yield each table that a statement reads or changes, as its parts, with the condition on it.

    What is not parsed has no tables: BigQuery's grammar is not the point here.
    """
    try:
        tree = sqlglot.parse_one(sql, dialect="bigquery")
    except (ParseError, TokenError):
        return
    for table in tree.find_all(exp.Table):
        parent = table.find_ancestor(exp.Select, exp.Update, exp.Delete, exp.Merge)
        if parent is not None and table.name:
            key = "on" if isinstance(parent, exp.Merge) else "where"
            condition = parent.args.get(key)
            text = condition.sql(dialect="bigquery") if condition is not None else ""
            yield ".".join(part.name for part in table.parts).split("."), text


def unfiltered(table: str, columns: list[str], condition: str) -> JobError | None:
    """Refuse to read all partitions of a table that requires a filter over `columns`.

    https://cloud.google.com/bigquery/docs/querying-partitioned-tables#require_a_partition_filter;
    the words: https://github.com/googleapis/google-cloud-go/issues/5013.
    """
    if not columns or filters_on(condition, columns):
        return None
    return JobError("invalidQuery", no_partition_filter(table, columns))


def failed(job: dict[str, Any], error: JobError) -> dict[str, Any]:
    """Return the job as it is once it has failed."""
    reason = {"reason": error.reason, "message": error.message}
    reference = job["jobReference"]
    return job | {
        "kind": "bigquery#job",
        "id": f"{reference['projectId']}:{reference['jobId']}",
        "status": {"state": "DONE", "errorResult": reason, "errors": [reason]},
        "statistics": {},
    }
