-- Of each of some partitions its last run that succeeded, and the last one that did not.
--   tables  ARRAY<STRING>, "project.dataset.table$partition"
SELECT
  output_table, run_id, state, model_name, model_version, model_generation, model_alias,
  TO_JSON_STRING(request) AS request, snapshot_at, rows_read, rows_scored, finished_at, failure
FROM (
  SELECT
    *,
    ROW_NUMBER() OVER (
      PARTITION BY output_table, state = 'succeeded' ORDER BY finished_at DESC, run_id DESC
    ) AS nth
  FROM prediction_runs
  WHERE output_table IN UNNEST(@tables) AND state IN ('succeeded', 'failed', 'cancelled')
)
WHERE nth = 1
