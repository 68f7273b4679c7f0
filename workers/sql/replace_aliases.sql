-- Replaces the log's rows with the keys `keys` by `rows`, atomically; the others stay.
--   keys   ARRAY<STRING>, "model/alias#generation", with "#deleted" for a row that ends the alias
--   rows   STRING, a JSON array of the rows to insert; a key that is missing becomes NULL
-- ON FALSE: see replace_models.sql.
MERGE model_aliases AS recorded
USING (
  SELECT
    JSON_VALUE(item, '$.model_name') AS model_name,
    JSON_VALUE(item, '$.alias') AS alias,
    JSON_VALUE(item, '$.environment') AS environment,
    JSON_VALUE(item, '$.version') AS version,
    JSON_VALUE(item, '$.previous_version') AS previous_version,
    JSON_VALUE(item, '$.who') AS who,
    JSON_VALUE(item, '$.why') AS why,
    CAST(JSON_VALUE(item, '$.forced') AS BOOL) AS forced,
    PARSE_JSON(JSON_QUERY(item, '$.evidence'), wide_number_mode => 'round') AS evidence,
    CAST(JSON_VALUE(item, '$.moved_at') AS TIMESTAMP) AS moved_at,
    CAST(JSON_VALUE(item, '$.generation') AS INT64) AS generation,
    CAST(JSON_VALUE(item, '$.previous_generation') AS INT64) AS previous_generation,
    CAST(JSON_VALUE(item, '$.deleted') AS BOOL) AS deleted,
    JSON_VALUE(item, '$.source') AS source,
    JSON_VALUE(item, '$.move_id') AS move_id,
    JSON_VALUE(item, '$.problem') AS problem,
    JSON_VALUE(item, '$.learnt_by') AS learnt_by,
    CAST(JSON_VALUE(item, '$.guarded') AS BOOL) AS guarded
  FROM UNNEST(JSON_QUERY_ARRAY(@rows)) AS item
) AS live
ON FALSE
WHEN NOT MATCHED BY SOURCE
  AND CONCAT(
    recorded.model_name, '/', recorded.alias, '#', CAST(recorded.generation AS STRING),
    IF(recorded.deleted, '#deleted', '')
  ) IN UNNEST(@keys)
  THEN DELETE
WHEN NOT MATCHED THEN INSERT (
  model_name, alias, environment, version, previous_version, who, why, forced, evidence, moved_at,
  generation, previous_generation, deleted, source, move_id, problem, learnt_by, guarded,
  recorded_at
) VALUES (
  model_name, alias, environment, version, previous_version, who, why, forced, evidence, moved_at,
  generation, previous_generation, deleted, source, move_id, problem, learnt_by, guarded,
  CURRENT_TIMESTAMP()
)
