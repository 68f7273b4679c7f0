-- What the runs that finished since then cost, by month and model; model_name '' does not narrow it
-- down. Runs of older releases have no costs.
SELECT
  CAST(DATE_TRUNC(DATE(finished_at), MONTH) AS STRING) AS month,
  model_name,
  COUNT(*) AS runs,
  SUM(rows_scored) AS rows_scored,
  SUM(bytes_billed) AS bytes_billed,
  SUM(estimated_cost) AS estimated_cost,
  SUM(vcpu_seconds) AS vcpu_seconds
FROM prediction_runs
WHERE finished_at >= @since AND (@model_name = '' OR model_name = @model_name)
GROUP BY month, model_name
ORDER BY month DESC, estimated_cost DESC, model_name
