-- How often versions of a model scored a table, and how many rows; runs that were undone do not count.
SELECT
  model_version,
  COUNTIF(state = 'succeeded') AS succeeded,
  COUNTIF(state = 'failed') AS failed,
  SUM(IF(state = 'undone', NULL, rows_scored)) AS rows_scored,
  MAX(finished_at) AS latest
FROM prediction_runs
WHERE model_name = @model_name AND model_version IN UNNEST(@versions)
GROUP BY model_version
