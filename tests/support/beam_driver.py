"""Score a run by the engine `beam`, over streams in any order: run by .venv-beam's Python.

python beam_driver.py RUN_ID STREAMS MAX_REJECTS [option of Beam ...]
"""

from __future__ import annotations

import json
import sys

from mlsys.cloud.clients import clients_for
from mlsys.settings import Settings
from workers.scoring.engines import beam
from workers.scoring.journal.store import RunStore
from workers.scoring.request.parsed import MaxRejects

if __name__ == "__main__":
    run_id, streams, max_rejects, *options = sys.argv[1:]
    settings = Settings.from_env()
    store = RunStore(clients_for(settings), "dev", run_id)
    scoring = beam.prepare(settings, store, MaxRejects(int(max_rejects)))
    beam.score(scoring, json.loads(streams), options)
