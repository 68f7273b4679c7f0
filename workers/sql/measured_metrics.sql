-- The metrics of exactly one file of a model version, by the labels of one column: over the runs that it
-- scored in this environment, also as a challenger, by their latest evaluations, weighted by rows.
SELECT
  metric,
  SUM(value * rows_evaluated) / SUM(rows_evaluated) AS value,
  SUM(rows_evaluated) AS evaluated
FROM model_metrics
WHERE model_name = @model AND model_version = @version AND model_generation = @generation
  AND CONCAT(labels_table, '.', label_column) = @labels
GROUP BY metric
