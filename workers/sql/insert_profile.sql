-- Inserts the rows of the run run_id, planned at predicted_at.
--   rows   STRING, a JSON array of the rows to insert; a key that is missing becomes NULL
INSERT INTO prediction_profiles (
  run_id, predicted_at, snapshot_at, model_name, model_version, model_generation, input_table, role,
  column_name, position, kind, level, distance, psi, null_share, null_share_before, unseen_share,
  out_of_range_share, mean_shift, importance, why, reference, reference_rows, row_count, nulls, nans,
  below, above, other, min_value, max_value, bins_id, bins
)
SELECT
  @run_id, @predicted_at,
  CAST(JSON_VALUE(item, '$.snapshot_at') AS TIMESTAMP) AS snapshot_at,
  JSON_VALUE(item, '$.model_name') AS model_name,
  JSON_VALUE(item, '$.model_version') AS model_version,
  CAST(JSON_VALUE(item, '$.model_generation') AS INT64) AS model_generation,
  JSON_VALUE(item, '$.input_table') AS input_table,
  JSON_VALUE(item, '$.role') AS role,
  JSON_VALUE(item, '$.column_name') AS column_name,
  CAST(JSON_VALUE(item, '$.position') AS INT64) AS position,
  JSON_VALUE(item, '$.kind') AS kind,
  JSON_VALUE(item, '$.level') AS level,
  CAST(JSON_VALUE(item, '$.distance') AS FLOAT64) AS distance,
  CAST(JSON_VALUE(item, '$.psi') AS FLOAT64) AS psi,
  CAST(JSON_VALUE(item, '$.null_share') AS FLOAT64) AS null_share,
  CAST(JSON_VALUE(item, '$.null_share_before') AS FLOAT64) AS null_share_before,
  CAST(JSON_VALUE(item, '$.unseen_share') AS FLOAT64) AS unseen_share,
  CAST(JSON_VALUE(item, '$.out_of_range_share') AS FLOAT64) AS out_of_range_share,
  CAST(JSON_VALUE(item, '$.mean_shift') AS FLOAT64) AS mean_shift,
  CAST(JSON_VALUE(item, '$.importance') AS FLOAT64) AS importance,
  JSON_VALUE(item, '$.why') AS why,
  JSON_VALUE(item, '$.reference') AS reference,
  CAST(JSON_VALUE(item, '$.reference_rows') AS INT64) AS reference_rows,
  CAST(JSON_VALUE(item, '$.row_count') AS INT64) AS row_count,
  CAST(JSON_VALUE(item, '$.nulls') AS INT64) AS nulls,
  CAST(JSON_VALUE(item, '$.nans') AS INT64) AS nans,
  CAST(JSON_VALUE(item, '$.below') AS INT64) AS below,
  CAST(JSON_VALUE(item, '$.above') AS INT64) AS above,
  CAST(JSON_VALUE(item, '$.other') AS INT64) AS other,
  JSON_VALUE(item, '$.min_value') AS min_value,
  JSON_VALUE(item, '$.max_value') AS max_value,
  JSON_VALUE(item, '$.bins_id') AS bins_id,
  PARSE_JSON(JSON_QUERY(item, '$.bins'), wide_number_mode => 'round') AS bins
FROM UNNEST(JSON_QUERY_ARRAY(@rows)) AS item
