-- Sums over the errors, prediction - label, of each run, and the exact quantiles of its errors.
--   shares             ARRAY<FLOAT64>, of the quantiles, from 0 to 1
--   most               FLOAT64: squares of numbers up to it do not overflow, nor do their sums
-- BigQuery refuses a query in which a FLOAT64 overflows, so rows with a greater number are only counted
-- (beyond): https://cloud.google.com/bigquery/docs/reference/standard-sql/mathematical_functions#safe_multiply
-- Errors are ordered within buckets, so that no single machine has to order them all. The place of a
-- quantile lies between two errors, as in numpy.quantile.
errors AS (
  SELECT
    run_id, IF(beyond, NULL, label) AS label, IF(beyond, NULL, prediction - label) AS error, beyond
  FROM (SELECT *, ABS(prediction) > @most OR ABS(label) > @most AS beyond FROM pairs)
),
sums AS (
  SELECT
    run_id, COUNT(error) AS pairs, COUNTIF(beyond) AS beyond, AVG(label) AS mean,
    MIN(label) = MAX(label) AS constant,
    SUM(error) AS error, SUM(ABS(error)) AS absolute, SUM(error * error) AS squares
  FROM errors
  GROUP BY run_id
),
spread AS (
  SELECT run_id, SUM((label - mean) * (label - mean)) AS label_squares
  FROM errors
  JOIN sums USING (run_id)
  GROUP BY run_id
),
placed AS (
  SELECT
    run_id, errors.error,
    CAST(GREATEST(LEAST(FLOOR(
      errors.error / IF(squares > 0, SQRT(squares / pairs), 1) * 1024), 1048576), -1048576
    ) AS INT64) AS bucket
  FROM errors
  JOIN sums USING (run_id)
  WHERE errors.error IS NOT NULL
),
by_bucket AS (
  SELECT
    run_id, bucket,
    SUM(COUNT(*)) OVER (
      PARTITION BY run_id ORDER BY bucket ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) AS below
  FROM placed
  GROUP BY run_id, bucket
),
ordered AS (
  SELECT
    run_id, placed.error,
    IFNULL(below, 0) - 1
      + ROW_NUMBER() OVER (PARTITION BY run_id, bucket ORDER BY placed.error) AS place
  FROM placed
  JOIN by_bucket USING (run_id, bucket)
),
wanted AS (
  SELECT run_id, share, share * (pairs - 1) AS place
  FROM sums
  CROSS JOIN UNNEST(@shares) AS share
),
quantiles AS (
  SELECT
    run_id, share,
    MIN(error) + (MAX(error) - MIN(error)) * (ANY_VALUE(wanted.place) - MIN(ordered.place)) AS error
  FROM wanted
  JOIN ordered USING (run_id)
  WHERE ordered.place IN (FLOOR(wanted.place), CEIL(wanted.place))
  GROUP BY run_id, share
)
SELECT
  counts.*,
  sums.beyond, sums.constant, sums.error, sums.absolute, sums.squares, spread.label_squares, shares.quantiles
FROM counts
LEFT JOIN sums USING (run_id)
LEFT JOIN spread USING (run_id)
LEFT JOIN (
  SELECT run_id, ARRAY_AGG(STRUCT(share AS share, error AS error)) AS quantiles
  FROM quantiles
  GROUP BY run_id
) AS shares USING (run_id)
