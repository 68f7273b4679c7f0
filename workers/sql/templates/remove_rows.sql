-- Removes the rows of one run.
--   table    the table, in full
--   at       the column with the run's time
--   filter   a condition on the partitions that every row meets, if the table requires one
DELETE FROM `$table`
WHERE run_id = @run_id AND $at = @at AND $filter
