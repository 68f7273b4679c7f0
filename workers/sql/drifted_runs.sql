-- The runs planned since then with a column that drifted, the latest first.
SELECT
  run_id,
  model_name,
  model_version,
  input_table,
  predicted_at,
  STRING_AGG(column_name, ', ' ORDER BY distance DESC LIMIT 5) AS columns_drifted,
  COUNT(*) AS number_drifted
FROM prediction_profiles
WHERE level = 'drift' AND predicted_at >= @since
GROUP BY run_id, model_name, model_version, input_table, predicted_at
ORDER BY predicted_at DESC
LIMIT @limit
