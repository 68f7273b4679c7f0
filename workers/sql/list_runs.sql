-- The runs that finished, the latest first; model_name and state narrow it down, '' does not.
SELECT * EXCEPT (request), TO_JSON_STRING(request) AS request
FROM prediction_runs
WHERE (@model_name = '' OR model_name = @model_name) AND (@state = '' OR state = @state)
ORDER BY finished_at DESC
LIMIT @limit
