resource "google_storage_bucket" "models" {
  project                     = var.project
  name                        = "${var.bucket_prefix}mlsys-models-${var.env}"
  location                    = local.location
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = !var.deletion_protection

  # A run is pinned to a generation and keeps using it after the model was overwritten.
  versioning {
    enabled = true
  }

  # Only the files of models: the noncurrent generations of {model}/aliases/*.json are the history of the
  # aliases, and stay. A metadata.json of a model lies in a folder that ends with a digit; an alias may be
  # called metadata. https://cloud.google.com/storage/docs/lifecycle#matchesprefix-matchessuffix
  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      days_since_noncurrent_time = 90
      matches_suffix = [
        "/model.pkl", "/model.sig",
        "0/metadata.json", "1/metadata.json", "2/metadata.json", "3/metadata.json", "4/metadata.json",
        "5/metadata.json", "6/metadata.json", "7/metadata.json", "8/metadata.json", "9/metadata.json",
      ]
    }
  }
}

resource "google_storage_bucket" "runs" {
  project                     = var.project
  name                        = "${var.bucket_prefix}mlsys-runs-${var.env}"
  location                    = local.location
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = !var.deletion_protection

  # Parts and rejects, which are most of the bytes and are loaded by then. The JSON objects beside them
  # stay, a few kilobytes a run: plan.json, publish.json and result.json identify a repeated request, so
  # its rows are not appended twice (docs/decisions/0037).
  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      age            = 30
      matches_suffix = [".parquet"]
    }
  }

  # Markers of runs that still work. A killed process may leave its own: docs/decisions/0147.
  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      age            = 7
      matches_prefix = ["_running/"]
    }
  }

  # Deleted parts would be kept, and billed, for another week.
  soft_delete_policy {
    retention_duration_seconds = 0
  }
}

locals {
  # Only the objects {model}/aliases/*.json: the first part of the name must end where "aliases" begins.
  # https://cloud.google.com/iam/docs/conditions-attribute-reference#extract
  only_aliases = <<-EOT
    resource.name.endsWith(".json") &&
    resource.name.extract("/objects/{model}/") != "" &&
    resource.name.extract("/objects/{model}/aliases/") == resource.name.extract("/objects/{model}/")
  EOT
}

resource "google_storage_bucket_iam_member" "runtime_reads_models" {
  bucket = google_storage_bucket.models.name
  role   = "roles/storage.objectViewer"
  member = google_service_account.runtime.member
}

# The service moves aliases, and writes nothing else here.
resource "google_storage_bucket_iam_member" "runtime_moves_aliases" {
  bucket = google_storage_bucket.models.name
  role   = "roles/storage.objectUser"
  member = google_service_account.runtime.member

  condition {
    title      = "Only the objects of aliases"
    expression = local.only_aliases
  }
}

resource "google_storage_bucket_iam_member" "runtime_keeps_runs" {
  bucket = google_storage_bucket.runs.name
  role   = "roles/storage.objectUser"
  member = google_service_account.runtime.member
}

# A load job's account also needs to read the bucket of the parts:
# https://cloud.google.com/bigquery/docs/loading-data-cloud-storage-parquet#required_permissions
resource "google_storage_bucket_iam_member" "runtime_sees_runs" {
  bucket = google_storage_bucket.runs.name
  role   = "roles/storage.legacyBucketReader"
  member = google_service_account.runtime.member
}

resource "google_storage_bucket_iam_member" "model_readers" {
  for_each = toset(var.model_readers)

  bucket = google_storage_bucket.models.name
  role   = "roles/storage.objectViewer"
  member = each.key
}

# The deploy account writes promoted models here, beside the people who upload.
resource "google_storage_bucket_iam_member" "model_writers" {
  for_each = local.model_writers

  bucket = google_storage_bucket.models.name
  role   = "roles/storage.objectUser"
  member = each.value
}

# In a versioned bucket an overwrite sends FINALIZE and ARCHIVE, a delete sends ARCHIVE. DELETE comes when
# an old generation is removed: https://cloud.google.com/storage/docs/pubsub-notifications#events
resource "google_storage_notification" "models" {
  bucket         = google_storage_bucket.models.name
  topic          = google_pubsub_topic.pushed["model-events"].id
  payload_format = "JSON_API_V1"
  event_types    = ["OBJECT_FINALIZE", "OBJECT_DELETE", "OBJECT_ARCHIVE"]

  # Cloud Storage checks the topic when the notification is created.
  depends_on = [google_pubsub_topic_iam_member.storage_publishes]
}
