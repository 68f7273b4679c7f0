-- The finished runs since then, by day.
SELECT
  DATE(finished_at) AS day,
  COUNT(*) AS runs,
  COUNTIF(state = 'failed') AS failed,
  SUM(rows_scored) AS rows_scored,
  SUM(rows_rejected) AS rows_rejected
FROM prediction_runs
WHERE finished_at >= @since
GROUP BY day
ORDER BY day
