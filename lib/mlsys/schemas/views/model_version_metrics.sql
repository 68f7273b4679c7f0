-- The metrics of each version over all of its evaluated runs, by their latest evaluations. `mean` weighs
-- the runs by their rows: of accuracy, mae, brier and log_loss it is the metric of all rows together.
-- Terraform and the local stack fill in the dataset.
SELECT
  model_name,
  model_version,
  metric,
  SUM(value * rows_evaluated) / SUM(rows_evaluated) AS mean,
  MIN(value) AS minimum,
  MAX(value) AS maximum,
  COUNT(*) AS runs,
  SUM(rows_evaluated) AS rows_evaluated,
  MIN(predicted_at) AS first_predicted_at,
  MAX(predicted_at) AS last_predicted_at
FROM `${dataset}.model_metrics`
GROUP BY model_name, model_version, metric
