-- The metrics of each run, and of its challenger, by its latest evaluation, a row each: over time by predicted_at, over versions
-- by model_version. Terraform and the local stack fill in the dataset.
SELECT
  model_name,
  model_version,
  model_generation,
  model_alias,
  metric.name AS metric,
  metric.value AS value,
  rows_evaluated,
  predicted_at,
  evaluated_at,
  run_id,
  labels_table,
  label_column,
  prediction_column,
  evaluation_id
FROM (
  SELECT
    *,
    ROW_NUMBER() OVER (
      PARTITION BY run_id, model_version, labels_table, label_column, prediction_column, task
      ORDER BY evaluated_at DESC, evaluation_id
    ) AS place
  FROM `${dataset}.prediction_evaluations`
) AS latest_first
CROSS JOIN UNNEST([
  STRUCT('accuracy' AS name, accuracy AS value),
  STRUCT('balanced_accuracy' AS name, balanced_accuracy AS value),
  STRUCT('precision' AS name, precision AS value),
  STRUCT('recall' AS name, recall AS value),
  STRUCT('f1' AS name, f1 AS value),
  STRUCT('precision_macro' AS name, precision_macro AS value),
  STRUCT('recall_macro' AS name, recall_macro AS value),
  STRUCT('f1_macro' AS name, f1_macro AS value),
  STRUCT('precision_weighted' AS name, precision_weighted AS value),
  STRUCT('recall_weighted' AS name, recall_weighted AS value),
  STRUCT('f1_weighted' AS name, f1_weighted AS value),
  STRUCT('roc_auc' AS name, roc_auc AS value),
  STRUCT('roc_auc_weighted' AS name, roc_auc_weighted AS value),
  STRUCT('log_loss' AS name, log_loss AS value),
  STRUCT('brier' AS name, brier AS value),
  STRUCT('rmse' AS name, rmse AS value),
  STRUCT('mae' AS name, mae AS value),
  STRUCT('r2' AS name, r2 AS value),
  STRUCT('mean_error' AS name, mean_error AS value)
]) AS metric
WHERE place = 1 AND metric.value IS NOT NULL
