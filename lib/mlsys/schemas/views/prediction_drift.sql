-- How far each column of a run is from the training data (distance, as prediction_profiles has it), from
-- the run of the model before it (distance_previous), and from the latest run at least seven days before it
-- (distance_week): Jensen-Shannon distances over bins that both runs have, NULL without such a run.
-- Terraform and the local stack fill in the dataset.
WITH runs AS (
  SELECT
    run_id, model_name, model_version, predicted_at, role, column_name, level, distance,
    LAG(run_id) OVER (
      PARTITION BY model_name, role, column_name, bins_id ORDER BY predicted_at, run_id
    ) AS previous_run_id,
    LAST_VALUE(run_id) OVER (
      PARTITION BY model_name, role, column_name, bins_id ORDER BY UNIX_SECONDS(predicted_at)
      RANGE BETWEEN UNBOUNDED PRECEDING AND 604800 PRECEDING
    ) AS week_run_id
  FROM `${dataset}.prediction_profiles`
),
shares AS (
  SELECT
    run_id,
    role,
    column_name,
    JSON_VALUE(item, '$.place') AS place,
    CAST(JSON_VALUE(item, '$.rows') AS INT64) / row_count AS share
  FROM `${dataset}.prediction_profiles`, UNNEST(JSON_QUERY_ARRAY(bins)) AS item
  WHERE row_count > 0
),
pairs AS (
  SELECT run_id, role, column_name, previous_run_id AS other_run_id FROM runs
  UNION DISTINCT
  SELECT run_id, role, column_name, week_run_id FROM runs
),
distances AS (
  SELECT
    pairs.run_id,
    pairs.role,
    pairs.column_name,
    pairs.other_run_id,
    SQRT(GREATEST(0.0, SUM(
      IF(a.share > 0, a.share * LOG(2 * a.share / (a.share + b.share), 2), 0.0)
      + IF(b.share > 0, b.share * LOG(2 * b.share / (a.share + b.share), 2), 0.0)
    ) / 2)) AS distance
  FROM pairs
  JOIN shares AS a
    ON a.run_id = pairs.run_id AND a.role = pairs.role AND a.column_name = pairs.column_name
  JOIN shares AS b
    ON b.run_id = pairs.other_run_id AND b.role = pairs.role
    AND b.column_name = pairs.column_name AND b.place = a.place
  GROUP BY pairs.run_id, pairs.role, pairs.column_name, pairs.other_run_id
)
SELECT
  runs.run_id,
  runs.model_name,
  runs.model_version,
  runs.predicted_at,
  runs.role,
  runs.column_name,
  runs.level,
  runs.distance,
  runs.previous_run_id,
  previous.distance AS distance_previous,
  runs.week_run_id,
  week.distance AS distance_week
FROM runs
LEFT JOIN distances AS previous
  ON previous.run_id = runs.run_id AND previous.role = runs.role
  AND previous.column_name = runs.column_name AND previous.other_run_id = runs.previous_run_id
LEFT JOIN distances AS week
  ON week.run_id = runs.run_id AND week.role = runs.role
  AND week.column_name = runs.column_name AND week.other_run_id = runs.week_run_id
