-- The predictions of runs beside their labels, a row each: the beginning of evaluate_classes.sql and
-- evaluate_numbers.sql. `evaluation.join` fills in the names of tables and columns, quoted.
--   run_ids            ARRAY<STRING>; first, last: TIMESTAMP, when the runs were planned
-- A key is the id columns, key_0, key_1, ...; a row with a NULL in it has no label.
WITH
predictions AS (
  SELECT
    p.run_id, ${output_keys}, ${prediction} AS prediction,
    ARRAY<STRUCT<k INT64, score FLOAT64>>[${scores}] AS scores, ${score_sum} AS score_sum
  FROM `${output_table}` AS p
  WHERE p.run_id IN UNNEST(@run_ids) AND p.predicted_at BETWEEN @first AND @last AND ${output_filter}
),
labels AS (
  SELECT ${label_keys}, ${label} AS label
  FROM `${labels_table}` AS l
  WHERE ${labels_filter}
),
one_label_each AS (
  SELECT ${keys}, COUNT(*) AS copies, ANY_VALUE(label) AS label
  FROM labels
  WHERE ${keys_present}
  GROUP BY ${keys}
),
matched AS (
  SELECT
    ${keys}, predictions.run_id, predictions.prediction, predictions.scores, one_label_each.label,
    one_label_each.copies,
    predictions.prediction IS NOT NULL AND predictions.score_sum IS NOT NULL
      AND NOT IS_NAN(predictions.score_sum) AS predicted
  FROM predictions
  LEFT JOIN one_label_each USING (${keys})
),
repeated_predictions AS (
  SELECT run_id, SUM(copies) AS repeated, ARRAY_AGG(STRUCT(${key_fields}) LIMIT 3) AS examples
  FROM (
    SELECT run_id, ${keys}, COUNT(*) AS copies
    FROM predictions
    WHERE ${keys_present}
    GROUP BY run_id, ${keys}
  )
  WHERE copies > 1
  GROUP BY run_id
),
repeated_labels AS (
  SELECT run_id, COUNT(*) AS repeated, ARRAY_AGG(STRUCT(${key_fields}) LIMIT 3) AS examples
  FROM matched
  WHERE copies > 1
  GROUP BY run_id
),
matches AS (
  SELECT
    run_id,
    COUNT(*) AS predictions,
    COUNTIF(copies IS NULL) AS without_label,
    COUNTIF(copies IS NOT NULL AND label IS NULL) AS null_labels,
    COUNTIF(label IS NOT NULL AND NOT predicted) AS without_prediction
  FROM matched
  GROUP BY run_id
),
counts AS (
  SELECT
    matches.*,
    (SELECT COUNT(*) FROM labels) AS labels,
    repeated_predictions.repeated AS repeated_predictions,
    repeated_predictions.examples AS examples_of_predictions,
    repeated_labels.repeated AS repeated_labels,
    repeated_labels.examples AS examples_of_labels
  FROM matches
  LEFT JOIN repeated_predictions USING (run_id)
  LEFT JOIN repeated_labels USING (run_id)
),
pairs AS (
  SELECT run_id, prediction, scores, label
  FROM matched
  WHERE label IS NOT NULL AND predicted
),
