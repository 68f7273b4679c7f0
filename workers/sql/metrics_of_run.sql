-- What was measured of a run once labels arrived, by its latest evaluation against each column.
SELECT labels_table, label_column, prediction_column, metric, value, rows_evaluated, evaluated_at
FROM model_metrics
JOIN prediction_runs USING (run_id, model_version) -- not the challenger's
WHERE run_id = @run_id
ORDER BY labels_table, label_column, prediction_column, metric
