locals {
  # The column by which each table is partitioned daily. The local stack creates the same tables and
  # columns from the same files.
  tables = {
    model_aliases          = "recorded_at"
    model_registry         = "registered_at"
    prediction_evaluations = "evaluated_at"
    prediction_profiles    = "predicted_at"
    prediction_runs        = "finished_at"
  }

  own_dataset     = "${var.project}.mlsys_${var.env}"
  input_datasets  = distinct(concat([local.own_dataset], var.input_datasets, var.output_datasets))
  output_datasets = distinct(concat([local.own_dataset], var.output_datasets))
}

# A dataset created without an access list grants access to the project's basic roles (owners, editors
# and viewers): https://cloud.google.com/bigquery/docs/access-control-basic-roles. Grant those roles to
# few people, and give prod its own project.
resource "google_bigquery_dataset" "this" {
  project                    = var.project
  dataset_id                 = "mlsys_${var.env}"
  location                   = local.location
  description                = "mlsys: the registry of models, the ledger of runs, and rows of views for seven days"
  delete_contents_on_destroy = !var.deletion_protection
}

resource "google_bigquery_table" "this" {
  for_each = local.tables

  project             = var.project
  dataset_id          = google_bigquery_dataset.this.dataset_id
  table_id            = each.key
  schema              = file("${path.module}/../../../lib/mlsys/schemas/${each.key}.json")
  clustering          = ["model_name"]
  deletion_protection = var.deletion_protection

  time_partitioning {
    type  = "DAY"
    field = each.value
  }
}

# Which version each alias named, and when. The columns of its SQL are those of the table.
resource "google_bigquery_table" "model_alias_history" {
  project             = var.project
  dataset_id          = google_bigquery_dataset.this.dataset_id
  table_id            = "model_alias_history"
  deletion_protection = false

  view {
    query          = templatefile("${path.module}/../../../lib/mlsys/schemas/views/model_alias_history.sql", { dataset = local.own_dataset })
    use_legacy_sql = false
  }

  depends_on = [google_bigquery_table.this]
}

# How far each run's columns are from the training data, from the run before, and from seven days before.
resource "google_bigquery_table" "prediction_drift" {
  project             = var.project
  dataset_id          = google_bigquery_dataset.this.dataset_id
  table_id            = "prediction_drift"
  deletion_protection = false

  view {
    query          = templatefile("${path.module}/../../../lib/mlsys/schemas/views/prediction_drift.sql", { dataset = local.own_dataset })
    use_legacy_sql = false
  }

  depends_on = [google_bigquery_table.this]
}

# The metrics of each run by its latest evaluation, and those of each version over its runs.
resource "google_bigquery_table" "model_metrics" {
  project             = var.project
  dataset_id          = google_bigquery_dataset.this.dataset_id
  table_id            = "model_metrics"
  deletion_protection = false

  view {
    query          = templatefile("${path.module}/../../../lib/mlsys/schemas/views/model_metrics.sql", { dataset = local.own_dataset })
    use_legacy_sql = false
  }

  depends_on = [google_bigquery_table.this]
}

resource "google_bigquery_table" "model_version_metrics" {
  project             = var.project
  dataset_id          = google_bigquery_dataset.this.dataset_id
  table_id            = "model_version_metrics"
  deletion_protection = false

  view {
    query          = templatefile("${path.module}/../../../lib/mlsys/schemas/views/model_version_metrics.sql", { dataset = local.own_dataset })
    use_legacy_sql = false
  }

  depends_on = [google_bigquery_table.model_metrics]
}

resource "google_bigquery_dataset_iam_member" "runtime_edits_own" {
  project    = var.project
  dataset_id = google_bigquery_dataset.this.dataset_id
  role       = "roles/bigquery.dataEditor"
  member     = google_service_account.runtime.member
}

resource "google_bigquery_dataset_iam_member" "runtime_reads" {
  for_each = toset(setsubtract(var.input_datasets, var.output_datasets))

  project    = split(".", each.key)[0]
  dataset_id = split(".", each.key)[1]
  role       = "roles/bigquery.dataViewer"
  member     = google_service_account.runtime.member
}

resource "google_bigquery_dataset_iam_member" "runtime_writes" {
  for_each = toset(var.output_datasets)

  project    = split(".", each.key)[0]
  dataset_id = split(".", each.key)[1]
  role       = "roles/bigquery.dataEditor"
  member     = google_service_account.runtime.member
}

# upload_model and mlsys promote return once the registry lists the model. A model can be promoted from
# here only if this registry lists it as ready.
resource "google_bigquery_dataset_iam_member" "model_writers" {
  for_each = merge(local.model_writers, { for member in var.model_readers : member => member })

  project    = var.project
  dataset_id = google_bigquery_dataset.this.dataset_id
  role       = "roles/bigquery.dataViewer"
  member     = each.value
}

# The guards of the next environment's aliases count the runs of a version here.
resource "google_bigquery_table_iam_member" "ledger_readers" {
  for_each = toset(var.ledger_readers)

  project    = var.project
  dataset_id = google_bigquery_dataset.this.dataset_id
  table_id   = google_bigquery_table.this["prediction_runs"].table_id
  role       = "roles/bigquery.dataViewer"
  member     = each.value
}
