-- Adds the evaluations that the table does not have yet; those that it has stay as they are.
--   rows   STRING, a JSON array; a key that is missing becomes NULL
MERGE prediction_evaluations AS recorded
USING (
  SELECT
    JSON_VALUE(item, '$.evaluation_id') AS evaluation_id,
    JSON_VALUE(item, '$.run_id') AS run_id,
    JSON_VALUE(item, '$.model_name') AS model_name,
    JSON_VALUE(item, '$.model_version') AS model_version,
    CAST(JSON_VALUE(item, '$.model_generation') AS INT64) AS model_generation,
    JSON_VALUE(item, '$.model_alias') AS model_alias,
    CAST(JSON_VALUE(item, '$.predicted_at') AS TIMESTAMP) AS predicted_at,
    CAST(JSON_VALUE(item, '$.evaluated_at') AS TIMESTAMP) AS evaluated_at,
    JSON_VALUE(item, '$.task') AS task,
    JSON_VALUE(item, '$.labels_table') AS labels_table,
    JSON_VALUE(item, '$.label_column') AS label_column,
    JSON_VALUE(item, '$.output_table') AS output_table,
    JSON_VALUE(item, '$.prediction_column') AS prediction_column,
    JSON_VALUE_ARRAY(item, '$.id_columns') AS id_columns,
    CAST(JSON_VALUE(item, '$.rows_evaluated') AS INT64) AS rows_evaluated,
    CAST(JSON_VALUE(item, '$.rows_without_label') AS INT64) AS rows_without_label,
    CAST(JSON_VALUE(item, '$.rows_with_null_label') AS INT64) AS rows_with_null_label,
    CAST(JSON_VALUE(item, '$.rows_without_prediction') AS INT64) AS rows_without_prediction,
    CAST(JSON_VALUE(item, '$.labels_without_prediction') AS INT64) AS labels_without_prediction,
    CAST(JSON_VALUE(item, '$.accuracy') AS FLOAT64) AS accuracy,
    CAST(JSON_VALUE(item, '$.balanced_accuracy') AS FLOAT64) AS balanced_accuracy,
    CAST(JSON_VALUE(item, '$.precision') AS FLOAT64) AS precision,
    CAST(JSON_VALUE(item, '$.recall') AS FLOAT64) AS recall,
    CAST(JSON_VALUE(item, '$.f1') AS FLOAT64) AS f1,
    CAST(JSON_VALUE(item, '$.precision_macro') AS FLOAT64) AS precision_macro,
    CAST(JSON_VALUE(item, '$.recall_macro') AS FLOAT64) AS recall_macro,
    CAST(JSON_VALUE(item, '$.f1_macro') AS FLOAT64) AS f1_macro,
    CAST(JSON_VALUE(item, '$.precision_weighted') AS FLOAT64) AS precision_weighted,
    CAST(JSON_VALUE(item, '$.recall_weighted') AS FLOAT64) AS recall_weighted,
    CAST(JSON_VALUE(item, '$.f1_weighted') AS FLOAT64) AS f1_weighted,
    CAST(JSON_VALUE(item, '$.roc_auc') AS FLOAT64) AS roc_auc,
    CAST(JSON_VALUE(item, '$.roc_auc_weighted') AS FLOAT64) AS roc_auc_weighted,
    CAST(JSON_VALUE(item, '$.log_loss') AS FLOAT64) AS log_loss,
    CAST(JSON_VALUE(item, '$.brier') AS FLOAT64) AS brier,
    CAST(JSON_VALUE(item, '$.rmse') AS FLOAT64) AS rmse,
    CAST(JSON_VALUE(item, '$.mae') AS FLOAT64) AS mae,
    CAST(JSON_VALUE(item, '$.r2') AS FLOAT64) AS r2,
    CAST(JSON_VALUE(item, '$.mean_error') AS FLOAT64) AS mean_error,
    PARSE_JSON(JSON_QUERY(item, '$.details'), wide_number_mode => 'round') AS details
  FROM UNNEST(JSON_QUERY_ARRAY(@rows)) AS item
) AS live
ON recorded.evaluation_id = live.evaluation_id
WHEN NOT MATCHED THEN INSERT (
  evaluation_id, run_id, model_name, model_version, model_generation, model_alias, predicted_at,
  evaluated_at,
  task, labels_table, label_column, output_table, prediction_column, id_columns, rows_evaluated,
  rows_without_label, rows_with_null_label, rows_without_prediction, labels_without_prediction,
  accuracy, balanced_accuracy, precision, recall, f1, precision_macro, recall_macro, f1_macro,
  precision_weighted, recall_weighted, f1_weighted, roc_auc, roc_auc_weighted, log_loss, brier,
  rmse, mae, r2, mean_error, details
) VALUES (
  evaluation_id, run_id, model_name, model_version, model_generation, model_alias, predicted_at,
  evaluated_at,
  task, labels_table, label_column, output_table, prediction_column, id_columns, rows_evaluated,
  rows_without_label, rows_with_null_label, rows_without_prediction, labels_without_prediction,
  accuracy, balanced_accuracy, precision, recall, f1, precision_macro, recall_macro, f1_macro,
  precision_weighted, recall_weighted, f1_weighted, roc_auc, roc_auc_weighted, log_loss, brier,
  rmse, mae, r2, mean_error, details
)
