-- The runs that finished, the latest first; model_name and state narrow it down, '' does not.
-- after_time and after_run: the last row of the page before, '' for the first one.
SELECT * EXCEPT (request, contract), TO_JSON_STRING(request) AS request, TO_JSON_STRING(contract) AS contract
FROM prediction_runs
WHERE (@model_name = '' OR model_name = @model_name) AND (@state = '' OR state = @state)
  AND (
    @after_run = ''
    OR finished_at < @after_time
    OR (finished_at = @after_time AND run_id < @after_run)
  )
ORDER BY finished_at DESC, run_id DESC
LIMIT @limit
