-- The runs that finished, the largest place first; model_name and state narrow it down, '' does not.
-- sort: finished, rows or seconds, which a run's place is made of. after_place and after_run: the last
-- row of the page before, '' for the first one.
SELECT
  * EXCEPT (request, contract, place),
  TO_JSON_STRING(request) AS request,
  TO_JSON_STRING(contract) AS contract
FROM (
  SELECT
    *,
    CASE @sort
      WHEN 'rows' THEN IFNULL(rows_scored, 0)
      WHEN 'seconds' THEN CAST(ROUND(1000 * IFNULL(seconds, 0)) AS INT64)
      ELSE UNIX_MICROS(finished_at)
    END AS place
  FROM prediction_runs
  WHERE (@model_name = '' OR model_name = @model_name) AND (@state = '' OR state = @state)
)
WHERE @after_run = '' OR place < @after_place OR (place = @after_place AND run_id < @after_run)
ORDER BY place DESC, run_id DESC
LIMIT @limit
