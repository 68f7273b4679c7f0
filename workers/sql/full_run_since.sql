-- The last run of a model without incremental that has written rows of a table since a moment.
--   partition  STRING, of the input; NULL for all of it
SELECT run_id
FROM prediction_runs
WHERE state = 'succeeded' AND rows_scored > 0 AND model_name = @model_name
  AND (output_table = @output_table OR STARTS_WITH(output_table, CONCAT(@output_table, '$')))
  AND (
    input_table IN (@input_table, CONCAT(@input_table, '$', @partition))
    OR (@partition IS NULL AND STARTS_WITH(input_table, CONCAT(@input_table, '$')))
  )
  AND JSON_VALUE(request, '$.incremental') IS NULL
  AND COALESCE(loaded_at, finished_at) > @since
ORDER BY COALESCE(loaded_at, finished_at) DESC
LIMIT 1
