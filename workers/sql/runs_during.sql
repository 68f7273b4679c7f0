-- The runs that may have changed a table (or its partitions, `table$20261122`) between two moments,
-- other than one run: those that worked then, and those that were undone then or shortly before.
SELECT run_id
FROM prediction_runs
WHERE run_id != @run_id
  AND (output_table = @table OR STARTS_WITH(output_table, CONCAT(@table, '$')))
  AND started_at <= @until
  AND (
    (state IN ('succeeded', 'undone') AND finished_at >= @since)
    OR (state = 'undone' AND undone_at >= TIMESTAMP_SUB(@since, INTERVAL 8 DAY))
  )
