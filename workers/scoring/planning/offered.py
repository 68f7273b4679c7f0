"""Tables that a person may want to score: suggestions for a form, by listings that cost nothing."""

from __future__ import annotations

import concurrent.futures as cf
import logging

from mlsys.cloud.clients import Clients, bigquery_retry

log = logging.getLogger(__name__)

DATASETS, EACH = 10, 50  # that are listed, and tables of each
OWN = "mlsys_"  # datasets of the registry and the ledger
SECONDS = 5.0  # of one listing


def offered_tables(clients: Clients) -> list[str]:
    """Return some tables and views of the datasets that the service reads, `project.dataset.table`.

    None where they cannot be listed: the account may read a table that it may not look for.
    """
    with cf.ThreadPoolExecutor(DATASETS) as pool:
        return [
            name
            for names in pool.map(lambda d: _tables(clients, d), _datasets(clients))
            for name in names
        ]


def _datasets(clients: Clients) -> list[str]:
    """Return the datasets of the settings, or those of the project if it reads them all."""
    settings = clients.settings
    named = [name for name in settings.input_datasets if not name.endswith(".*")]
    if named or settings.input_datasets:
        return named[:DATASETS]
    try:
        listed = clients.bigquery.list_datasets(
            settings.project,
            max_results=DATASETS + len(settings.envs),
            timeout=SECONDS,
            retry=bigquery_retry().with_timeout(SECONDS),
        )
        return [
            f"{each.project}.{each.dataset_id}"
            for each in listed
            if not each.dataset_id.startswith(OWN)
        ][:DATASETS]
    except Exception:
        log.info("The datasets of %s are not offered", settings.project, exc_info=True)
        return []


def _tables(clients: Clients, dataset: str) -> list[str]:
    try:
        listed = clients.bigquery.list_tables(
            dataset, max_results=EACH, timeout=SECONDS, retry=bigquery_retry().with_timeout(SECONDS)
        )
        return [f"{dataset}.{each.table_id}" for each in listed]
    except Exception:
        log.info("The tables of %s are not offered", dataset, exc_info=True)
        return []
