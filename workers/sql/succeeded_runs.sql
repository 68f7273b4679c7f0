-- A model's runs that succeeded in [since, until), the latest first; version '' does not narrow it
-- down, and may be the alias that they were requested by.
SELECT run_id
FROM prediction_runs
WHERE model_name = @model_name AND state = 'succeeded'
  AND (@version = '' OR model_version = @version OR model_alias = @version)
  AND finished_at >= @since AND finished_at < @until
ORDER BY finished_at DESC, run_id DESC
LIMIT @limit
