-- One row a model: its newest version, how many it has, its aliases, and its runs since then.
-- text and status narrow it down, '' does not; sort is name, uploaded or run.
SELECT
  latest.* EXCEPT (place),
  named.aliases,
  scored.runs,
  scored.runs_failed,
  scored.last_run_at
FROM (
  SELECT
    model_name,
    model_version,
    version_number,
    status,
    status_reason,
    model_class,
    uploaded_at,
    COUNT(*) OVER (PARTITION BY model_name) AS versions,
    SUM(IF(status = 'rejected', 1, 0)) OVER (PARTITION BY model_name) AS versions_rejected,
    ROW_NUMBER() OVER (PARTITION BY model_name ORDER BY version_number DESC) AS place
  FROM model_registry
  WHERE @text = '' OR STRPOS(model_name, @text) > 0
) AS latest
LEFT JOIN (
  SELECT model_name, STRING_AGG(CONCAT(alias, ' ', version), ',' ORDER BY alias) AS aliases
  FROM model_alias_history
  WHERE valid_to IS NULL
  GROUP BY model_name
) AS named ON named.model_name = latest.model_name
LEFT JOIN (
  SELECT
    model_name,
    COUNT(*) AS runs,
    COUNTIF(state = 'failed') AS runs_failed,
    MAX(finished_at) AS last_run_at
  FROM prediction_runs
  WHERE finished_at >= @since
  GROUP BY model_name
) AS scored ON scored.model_name = latest.model_name
WHERE latest.place = 1 AND (@status = '' OR latest.status = @status)
ORDER BY
  IF(@sort = 'uploaded', latest.uploaded_at, IF(@sort = 'run', scored.last_run_at, NULL)) DESC,
  latest.model_name
LIMIT @limit OFFSET @skip
