-- Replaces the rows of the model versions in `keys` by `rows`, atomically.
--   keys   ARRAY<STRING>, "name/version": every row with such a key is deleted
--   rows   STRING, a JSON array of the rows to insert; a key that is missing becomes NULL
-- ON FALSE makes every source row "not matched" and every table row "not matched by source":
-- delete and insert are then one statement, and so one transaction.
MERGE model_registry AS recorded
USING (
  SELECT
    JSON_VALUE(item, '$.model_name') AS model_name,
    JSON_VALUE(item, '$.model_version') AS model_version,
    CAST(JSON_VALUE(item, '$.version_number') AS INT64) AS version_number,
    JSON_VALUE(item, '$.environment') AS environment,
    JSON_VALUE(item, '$.gcs_uri') AS gcs_uri,
    CAST(JSON_VALUE(item, '$.generation') AS INT64) AS generation,
    CAST(JSON_VALUE(item, '$.metadata_generation') AS INT64) AS metadata_generation,
    CAST(JSON_VALUE(item, '$.signature_generation') AS INT64) AS signature_generation,
    CAST(JSON_VALUE(item, '$.contract_generation') AS INT64) AS contract_generation,
    JSON_VALUE(item, '$.verified_with') AS verified_with,
    JSON_VALUE(item, '$.loader') AS loader,
    CAST(JSON_VALUE(item, '$.size_bytes') AS INT64) AS size_bytes,
    JSON_VALUE(item, '$.crc32c') AS crc32c,
    JSON_VALUE(item, '$.md5') AS md5,
    CAST(JSON_VALUE(item, '$.uploaded_at') AS TIMESTAMP) AS uploaded_at,
    JSON_VALUE(item, '$.registered_by') AS registered_by,
    JSON_VALUE(item, '$.status') AS status,
    JSON_VALUE(item, '$.status_reason') AS status_reason,
    JSON_VALUE(item, '$.model_class') AS model_class,
    JSON_VALUE_ARRAY(item, '$.feature_names') AS feature_names,
    JSON_VALUE_ARRAY(item, '$.target') AS target,
    JSON_VALUE(item, '$.sklearn_version') AS sklearn_version,
    JSON_VALUE(item, '$.python_version') AS python_version,
    JSON_VALUE(item, '$.promoted_from') AS promoted_from,
    JSON_VALUE(item, '$.promoted_by') AS promoted_by,
    SAFE_CAST(JSON_VALUE(item, '$.promoted_at') AS TIMESTAMP) AS promoted_at,
    PARSE_JSON(JSON_QUERY(item, '$.metrics'), wide_number_mode => 'round') AS metrics,
    PARSE_JSON(JSON_QUERY(item, '$.metadata'), wide_number_mode => 'round') AS metadata,
    PARSE_JSON(JSON_QUERY(item, '$.contract'), wide_number_mode => 'round') AS contract
  FROM UNNEST(JSON_QUERY_ARRAY(@rows)) AS item
) AS live
ON FALSE
WHEN NOT MATCHED BY SOURCE
  AND CONCAT(recorded.model_name, '/', recorded.model_version) IN UNNEST(@keys)
  THEN DELETE
WHEN NOT MATCHED THEN INSERT (
  model_name, model_version, version_number, environment, gcs_uri, generation,
  metadata_generation, signature_generation, contract_generation, verified_with, loader, size_bytes, crc32c,
  md5, uploaded_at, registered_at, registered_by, status, status_reason, model_class, feature_names, target,
  sklearn_version, python_version, promoted_from, promoted_by, promoted_at, metrics, metadata, contract
) VALUES (
  model_name, model_version, version_number, environment, gcs_uri, generation,
  metadata_generation, signature_generation, contract_generation, verified_with, loader, size_bytes, crc32c,
  md5, uploaded_at, CURRENT_TIMESTAMP(), registered_by, status, status_reason, model_class, feature_names,
  target, sklearn_version, python_version, promoted_from, promoted_by, promoted_at, metrics, metadata, contract
)
