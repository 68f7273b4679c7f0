-- The runs that wrote a table or one of its partitions (`table$20261122`), the latest first.
SELECT * EXCEPT (request, contract)
FROM prediction_runs
WHERE output_table = @table OR STARTS_WITH(output_table, CONCAT(@table, '$'))
ORDER BY finished_at DESC, run_id DESC
LIMIT @limit
