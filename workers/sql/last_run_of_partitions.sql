-- The last run that succeeded for each partition that runs of a table named, the latest partition first.
SELECT output_table, run_id, model_name, model_version, model_alias, rows_scored, finished_at
FROM (
  SELECT
    *,
    ROW_NUMBER() OVER (
      PARTITION BY output_table ORDER BY COALESCE(loaded_at, finished_at) DESC, run_id DESC
    ) AS nth
  FROM prediction_runs
  WHERE STARTS_WITH(output_table, CONCAT(@table, '$')) AND state = 'succeeded'
)
WHERE nth = 1
ORDER BY LENGTH(output_table) DESC, output_table DESC  -- numbers of ranges, too
LIMIT @limit
