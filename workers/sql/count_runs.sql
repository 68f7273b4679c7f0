-- How many runs of one model version succeeded and wrote rows, by the checksum of its file.
--   generation   INT64, of the file too, where it is known; 0 for another environment's copy
SELECT COUNT(*) AS runs
FROM prediction_runs
WHERE model_name = @model
  AND model_version = @version
  AND model_crc32c = @crc32c
  AND (@generation = 0 OR model_generation = @generation)
  AND state = 'succeeded'
  AND rows_scored > 0
