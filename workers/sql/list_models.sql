-- The registry's rows for people, newest version of each model first; JSON columns as text.
SELECT
  * EXCEPT (metrics, metadata),
  TO_JSON_STRING(metrics) AS metrics,
  TO_JSON_STRING(metadata) AS metadata
FROM model_registry
ORDER BY model_name, version_number DESC
