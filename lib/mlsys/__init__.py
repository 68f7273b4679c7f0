"""mlsys: upload a scikit-learn model, and it scores BigQuery tables.

Notebooks import from the modules: `mlsys.bq`, `mlsys.gcs`, `mlsys.models`, `mlsys.settings`,
`mlsys.vis`. Importing this package reads no setting and makes no client.
"""

from importlib.metadata import version

__version__ = version("mlsys")
