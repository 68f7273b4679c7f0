-- The columns of a model's last runs with their distances; version '' does not narrow the runs down.
WITH latest AS (
  SELECT run_id, predicted_at
  FROM prediction_profiles
  WHERE model_name = @model_name AND (@version = '' OR model_version = @version)
  GROUP BY run_id, predicted_at
  ORDER BY predicted_at DESC, run_id DESC
  LIMIT @runs
)
SELECT
  profiles.run_id, profiles.model_name, profiles.model_version, profiles.predicted_at,
  profiles.input_table, profiles.role, profiles.column_name, profiles.kind, profiles.level,
  profiles.why, profiles.importance, profiles.distance, distances.distance_previous,
  distances.previous_run_id, distances.distance_week, distances.week_run_id, profiles.psi,
  profiles.null_share, profiles.null_share_before, profiles.unseen_share,
  profiles.out_of_range_share, profiles.mean_shift, profiles.reference, profiles.row_count
FROM latest
JOIN prediction_profiles AS profiles USING (run_id)
JOIN prediction_drift AS distances
  ON distances.run_id = profiles.run_id AND distances.role = profiles.role
  AND distances.column_name = profiles.column_name
WHERE profiles.model_name = @model_name AND distances.model_name = @model_name
