"""All weaker designs."""

from __future__ import annotations

from simulator.backfill_mutants import BACKFILLS
from simulator.increments_mutants import INCREMENTS
from simulator.job_mutants import JOBS
from simulator.registry_mutants import REGISTRY
from simulator.run_mutants import SCORING
from simulator.undo_mutants import UNDOING

MUTANTS = (*REGISTRY, *SCORING, *JOBS, *INCREMENTS, *UNDOING, *BACKFILLS)
