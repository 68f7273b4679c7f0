-- The latest runs of one model version that had a challenger, whichever that was.
SELECT run_id
FROM prediction_runs
WHERE model_name = @model
  AND model_version = @version
  AND state = 'succeeded'
  AND JSON_VALUE(request, '$.shadow') IS NOT NULL
ORDER BY finished_at DESC
LIMIT @limit
