-- A model's rows in the registry, newest first; metrics, metadata and contract of only some versions, as text.
-- newest: the newest one is among these.
SELECT
  * EXCEPT (metrics, metadata, contract, wanted),
  IF(wanted, TO_JSON_STRING(metrics), NULL) AS metrics,
  IF(wanted, TO_JSON_STRING(metadata), NULL) AS metadata,
  IF(wanted, TO_JSON_STRING(contract), NULL) AS contract
FROM (
  SELECT
    *,
    model_version IN UNNEST(@versions)
      OR (@newest AND ROW_NUMBER() OVER (ORDER BY version_number DESC) = 1) AS wanted
  FROM model_registry
  WHERE model_name = @model_name
)
ORDER BY version_number DESC
LIMIT 1000
