"""The service from a notebook: score a table, find runs again, and measure how right they were.

>>> from mlsys.runs import predict, preview                                 # doctest: +SKIP
>>> preview("my-project.titanic.test", "titanic-survival", "v3")            # doctest: +SKIP
>>> run = predict(                                                          # doctest: +SKIP
...     "my-project.titanic.test", "my-project.titanic.scored", "titanic-survival"
... )
>>> run.to_dataframe()                                                      # doctest: +SKIP

The service's address is `MLSYS_URL` of the environment or of `.env`. On Cloud Run the calls are
signed in by `gcloud auth login`, or by the service account of the machine, as `mlsys predict` is.
"""

from mlsys.runs.backfills import backfill
from mlsys.runs.calls import predict, preview
from mlsys.runs.evaluations import evaluate
from mlsys.runs.lists import costs, get_run, list_runs
from mlsys.runs.profiles import drift, profile
from mlsys.runs.run import Run
from mlsys.runs.undoing import undo

__all__ = [
    "Run",
    "backfill",
    "costs",
    "drift",
    "evaluate",
    "get_run",
    "list_runs",
    "predict",
    "preview",
    "profile",
    "undo",
]
