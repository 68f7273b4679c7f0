-- What was measured of a model's versions once labels arrived.
SELECT model_version, metric, mean, runs, rows_evaluated, last_predicted_at
FROM model_version_metrics
WHERE model_name = @model_name
