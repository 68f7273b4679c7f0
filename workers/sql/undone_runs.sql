-- The runs of a table or of its partitions (`table$20261122`) that were undone.
SELECT run_id
FROM prediction_runs
WHERE state = 'undone' AND (output_table = @table OR STARTS_WITH(output_table, CONCAT(@table, '$')))
