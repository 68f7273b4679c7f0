-- The columns of the predictions of the model's last run with at least `rows` rows.
WITH last_run AS (
  SELECT run_id
  FROM prediction_profiles
  WHERE model_name = @model_name AND role = 'prediction' AND row_count >= @rows
  ORDER BY predicted_at DESC, run_id DESC
  LIMIT 1
)
SELECT
  run_id, column_name, kind, bins_id, row_count, nulls, nans, below, above, other,
  TO_JSON_STRING(bins) AS bins
FROM prediction_profiles
JOIN last_run USING (run_id)
WHERE model_name = @model_name AND role = 'prediction' AND row_count >= @rows
