-- Removes the rows of one run and inserts those that it replaced, in one transaction; see
-- replace_models.sql for ON FALSE. Nothing is inserted if the run's rows are not there any more: a
-- later load job has replaced them.
--   table     the table, in full
--   copy      the table with the earlier rows
--   columns   the columns of both
--   values    the same columns of earlier
--   at        the column with the run's time
--   inside    the condition of the partition that the run wrote
--   filter    a condition on the partitions that every row meets, if the table requires one
MERGE `$table` AS live
USING (
  SELECT $columns
  FROM `$copy`
  WHERE (
    SELECT COUNTIF(run_id = @run_id AND $at = @at) = @rows AND (@rows > 0 OR COUNT(*) = 0)
    FROM `$table`
    WHERE $inside
  )
) AS earlier
ON FALSE
WHEN NOT MATCHED BY SOURCE
  AND live.run_id = @run_id AND live.$at = @at AND $filter
  THEN DELETE
WHEN NOT MATCHED THEN INSERT ($columns) VALUES ($values)
