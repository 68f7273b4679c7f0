-- Of each of some partitions its last run that succeeded, and the last one that did not. Of runs that
-- load at the same time, the last one to load counts, by the one clock that all have in common.
--   tables  ARRAY<STRING>, "project.dataset.table$partition"
SELECT
  output_table, run_id, state, model_name, model_version, model_generation, model_alias,
  TO_JSON_STRING(request) AS request, snapshot_at, rows_read, rows_scored, finished_at, failure
FROM (
  SELECT
    *,
    ROW_NUMBER() OVER (
      PARTITION BY output_table, state = 'succeeded'
      ORDER BY COALESCE(loaded_at, finished_at) DESC, run_id DESC
    ) AS nth
  FROM prediction_runs
  WHERE output_table IN UNNEST(@tables) AND state IN ('succeeded', 'failed', 'cancelled')
)
WHERE nth = 1
