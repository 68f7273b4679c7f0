-- The rows of a table that meet a condition, those of one run among them, and their content.
--   table     the table, in full
--   columns   all of its columns
--   at        the column with the run's time
--   version   FOR SYSTEM_TIME AS OF ..., or nothing
--   inside    the condition
SELECT
  COUNT(*) AS total,
  COUNTIF(written.run_id = @run_id AND written.$at = @at) AS own,
  $content AS content
FROM `$table` AS written $version
WHERE $inside
