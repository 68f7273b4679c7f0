-- A model's rows in the registry, newest first; metrics and metadata of only some versions, as text.
SELECT
  * EXCEPT (metrics, metadata, contract),
  IF(model_version IN UNNEST(@versions), TO_JSON_STRING(metrics), NULL) AS metrics,
  IF(model_version IN UNNEST(@versions), TO_JSON_STRING(metadata), NULL) AS metadata
FROM model_registry
WHERE model_name = @model_name
ORDER BY version_number DESC
LIMIT 1000
