-- Counts of labels against predictions, and sums over the scores of each class, for each run.
--   class_0, ...       the class of each score k; none: the one score is of the greatest label
--   edges              ARRAY<FLOAT64>, between the bins of the calibration, ascending
-- The area under a ROC curve is the share of pairs, one row of the class and one of the rest, in which
-- the first has the greater score; equal scores count one half. Scores are ordered within buckets, so
-- that no single machine has to order them all. BigQuery refuses a query in which a FLOAT64 overflows, so
-- scores far beyond a probability are clamped first.
confusion AS (
  SELECT run_id, label, prediction, COUNT(*) AS n
  FROM pairs
  GROUP BY run_id, label, prediction
),
greatest AS (
  SELECT run_id, MAX(label) AS label
  FROM pairs
  GROUP BY run_id
),
scored AS (
  SELECT
    pairs.run_id, s.k, s.score, pairs.label = ${class_of_k} AS own,
    CAST(FLOOR(GREATEST(LEAST(s.score, 1024.0), -1024.0) * 1024) AS INT64) AS bucket
  FROM pairs
  JOIN greatest USING (run_id)
  CROSS JOIN UNNEST(pairs.scores) AS s
),
losses AS (
  SELECT
    run_id,
    SUM(IF(own, -LN(GREATEST(LEAST(score, 1 - 2.220446049250313e-16), 2.220446049250313e-16)), 0))
      AS log_loss,
    SUM(POW(GREATEST(LEAST(score, 2.0), -1.0) - IF(own, 1.0, 0.0), 2)) AS brier
  FROM scored
  GROUP BY run_id
),
by_score AS (
  SELECT run_id, k, bucket, score, COUNTIF(own) AS own, COUNTIF(NOT own) AS others
  FROM scored
  GROUP BY run_id, k, bucket, score
),
by_bucket AS (
  SELECT
    run_id, k, bucket,
    SUM(SUM(others)) OVER (
      PARTITION BY run_id, k ORDER BY bucket ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) AS below
  FROM by_score
  GROUP BY run_id, k, bucket
),
within_bucket AS (
  SELECT
    run_id, k, bucket, own, others,
    SUM(others) OVER (
      PARTITION BY run_id, k, bucket ORDER BY score
      ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) AS below
  FROM by_score
),
curves AS (
  SELECT
    run_id, k, SUM(own) AS own, SUM(others) AS others,
    SUM(own * (IFNULL(by_bucket.below, 0) + IFNULL(within_bucket.below, 0) + others / 2)) AS won
  FROM within_bucket
  JOIN by_bucket USING (run_id, k, bucket)
  GROUP BY run_id, k
),
binned AS (
  SELECT run_id, k, score, own, (SELECT COUNTIF(edge < score) FROM UNNEST(@edges) AS edge) AS bin
  FROM scored
),
bins AS (
  SELECT run_id, k, bin, COUNT(*) AS n, COUNTIF(own) AS own, SUM(score) AS total
  FROM binned
  GROUP BY run_id, k, bin
)
SELECT
  counts.*,
  cells.cells, cells.confusion, losses.log_loss, losses.brier, areas.curves, calibrations.bins
FROM counts
LEFT JOIN losses USING (run_id)
LEFT JOIN (
  SELECT
    run_id, COUNT(*) AS cells,
    ARRAY_AGG(STRUCT(label AS label, prediction AS prediction, n AS n) LIMIT 10000) AS confusion
  FROM confusion
  GROUP BY run_id
) AS cells USING (run_id)
LEFT JOIN (
  SELECT run_id, ARRAY_AGG(STRUCT(k AS k, own AS own, others AS others, won AS won)) AS curves
  FROM curves
  GROUP BY run_id
) AS areas USING (run_id)
LEFT JOIN (
  SELECT run_id, ARRAY_AGG(STRUCT(k AS k, bin AS bin, n AS n, own AS own, total AS total)) AS bins
  FROM bins
  GROUP BY run_id
) AS calibrations USING (run_id)
