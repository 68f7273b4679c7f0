-- Replaces the rows of the run run_id (which finished after since) by one, in one transaction: ON
-- FALSE makes the source's row "not matched" and every table row "not matched by source".
-- Every parameter of the new row is a STRING, the column's text.
MERGE prediction_runs AS recorded
USING (SELECT 1 AS row_to_insert) AS live
ON FALSE
WHEN NOT MATCHED BY SOURCE
  AND recorded.run_id = @run_id AND recorded.finished_at >= @since
  THEN DELETE
WHEN NOT MATCHED THEN INSERT (
  run_id, state, failure, model_name, model_version, model_generation, model_crc32c, input_table,
  output_table, rejects_table, write_disposition, request, snapshot_at, started_at, finished_at,
  seconds, rows_read, rows_scored, rows_rejected, bytes_read, shards, attempts, path, job_id,
  loader, model_alias, contract, bytes_billed, estimated_cost, vcpu_seconds, watermark, rows_below,
  rows_late, undone_by, undone_at, undone_why, loaded_at
) VALUES (
  @run_id, @state, @failure,
  @model_name, @model_version, CAST(@model_generation AS INT64), @model_crc32c,
  @input_table, @output_table, @rejects_table, @write_disposition, PARSE_JSON(@request),
  CAST(@snapshot_at AS TIMESTAMP), CAST(@started_at AS TIMESTAMP), CAST(@finished_at AS TIMESTAMP),
  CAST(@seconds AS FLOAT64),
  CAST(@rows_read AS INT64), CAST(@rows_scored AS INT64), CAST(@rows_rejected AS INT64),
  CAST(@bytes_read AS INT64), CAST(@shards AS INT64), CAST(@attempts AS INT64), @path, @job_id,
  @loader, @model_alias, PARSE_JSON(@contract, wide_number_mode => 'round'),
  CAST(@bytes_billed AS INT64), CAST(@estimated_cost AS FLOAT64), CAST(@vcpu_seconds AS FLOAT64),
  @watermark, CAST(@rows_below AS INT64), CAST(@rows_late AS INT64),
  @undone_by, CAST(@undone_at AS TIMESTAMP), @undone_why, CAST(@loaded_at AS TIMESTAMP)
)
