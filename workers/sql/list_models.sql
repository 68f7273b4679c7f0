-- The registry's rows for people, newest version of each model first; JSON columns as text.
-- model_name and status narrow it down, '' does not; metadata can be as large as all else together.
-- after_name and after_number: the last row of the page before, '' for the first one.
SELECT
  * EXCEPT (metrics, metadata, contract),
  TO_JSON_STRING(metrics) AS metrics,
  IF(@metadata, TO_JSON_STRING(metadata), NULL) AS metadata,
  IF(@metadata, TO_JSON_STRING(contract), NULL) AS contract
FROM model_registry
WHERE (@model_name = '' OR model_name = @model_name) AND (@status = '' OR status = @status)
  AND (
    model_name > @after_name
    OR (model_name = @after_name AND version_number < @after_number)
  )
ORDER BY model_name, version_number DESC
LIMIT @limit
