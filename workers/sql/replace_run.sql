-- Replaces the rows of the run run_id (which finished after since) by row, a JSON object, in one
-- transaction: ON FALSE makes every source row "not matched" and every table row "not matched by
-- source".
MERGE prediction_runs AS recorded
USING (
  SELECT
    JSON_VALUE(item, '$.run_id') AS run_id,
    JSON_VALUE(item, '$.state') AS state,
    JSON_VALUE(item, '$.failure') AS failure,
    JSON_VALUE(item, '$.model_name') AS model_name,
    JSON_VALUE(item, '$.model_version') AS model_version,
    CAST(JSON_VALUE(item, '$.model_generation') AS INT64) AS model_generation,
    JSON_VALUE(item, '$.model_crc32c') AS model_crc32c,
    JSON_VALUE(item, '$.input_table') AS input_table,
    JSON_VALUE(item, '$.output_table') AS output_table,
    JSON_VALUE(item, '$.rejects_table') AS rejects_table,
    JSON_VALUE(item, '$.write_disposition') AS write_disposition,
    PARSE_JSON(JSON_QUERY(item, '$.request')) AS request,
    CAST(JSON_VALUE(item, '$.snapshot_at') AS TIMESTAMP) AS snapshot_at,
    CAST(JSON_VALUE(item, '$.started_at') AS TIMESTAMP) AS started_at,
    CAST(JSON_VALUE(item, '$.finished_at') AS TIMESTAMP) AS finished_at,
    CAST(JSON_VALUE(item, '$.seconds') AS FLOAT64) AS seconds,
    CAST(JSON_VALUE(item, '$.rows_read') AS INT64) AS rows_read,
    CAST(JSON_VALUE(item, '$.rows_scored') AS INT64) AS rows_scored,
    CAST(JSON_VALUE(item, '$.rows_rejected') AS INT64) AS rows_rejected,
    CAST(JSON_VALUE(item, '$.bytes_read') AS INT64) AS bytes_read,
    CAST(JSON_VALUE(item, '$.shards') AS INT64) AS shards,
    CAST(JSON_VALUE(item, '$.attempts') AS INT64) AS attempts,
    JSON_VALUE(item, '$.path') AS path,
    JSON_VALUE(item, '$.job_id') AS job_id
  FROM UNNEST([@row]) AS item
) AS live
ON FALSE
WHEN NOT MATCHED BY SOURCE
  AND recorded.run_id = @run_id AND recorded.finished_at >= @since
  THEN DELETE
WHEN NOT MATCHED THEN INSERT (
  run_id, state, failure, model_name, model_version, model_generation, model_crc32c, input_table,
  output_table, rejects_table, write_disposition, request, snapshot_at, started_at, finished_at,
  seconds, rows_read, rows_scored, rows_rejected, bytes_read, shards, attempts, path, job_id
) VALUES (
  run_id, state, failure, model_name, model_version, model_generation, model_crc32c, input_table,
  output_table, rejects_table, write_disposition, request, snapshot_at, started_at, finished_at,
  seconds, rows_read, rows_scored, rows_rejected, bytes_read, shards, attempts, path, job_id
)
