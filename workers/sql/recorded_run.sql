-- The ledger's rows of the run run_id, which finished after since.
SELECT state, finished_at
FROM prediction_runs
WHERE run_id = @run_id AND finished_at >= @since
