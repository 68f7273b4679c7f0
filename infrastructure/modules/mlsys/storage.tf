resource "google_storage_bucket" "models" {
  project                     = var.project
  name                        = "${var.bucket_prefix}mlsys-models-${var.env}"
  location                    = local.location
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = !var.deletion_protection

  # A run is pinned to a generation, and goes on with it after the model was overwritten.
  versioning {
    enabled = true
  }

  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      days_since_noncurrent_time = 90
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

  # Parts and rejects: most of the bytes, and loaded by now. The JSON objects beside them stay, a few
  # kilobytes a run: by plan.json, publish.json and result.json the same request is known again, and its
  # rows are not appended twice (docs/decisions/0037).
  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      age            = 30
      matches_suffix = [".parquet"]
    }
  }

  # Deleted parts would be kept, and paid for, a week longer.
  soft_delete_policy {
    retention_duration_seconds = 0
  }
}

resource "google_storage_bucket_iam_member" "runtime_reads_models" {
  bucket = google_storage_bucket.models.name
  role   = "roles/storage.objectViewer"
  member = google_service_account.runtime.member
}

resource "google_storage_bucket_iam_member" "runtime_keeps_runs" {
  bucket = google_storage_bucket.runs.name
  role   = "roles/storage.objectUser"
  member = google_service_account.runtime.member
}

# A load job's account must also see the bucket that the parts lie in:
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

# The deploy account puts promoted models here, beside the people who upload.
resource "google_storage_bucket_iam_member" "model_writers" {
  for_each = local.model_writers

  bucket = google_storage_bucket.models.name
  role   = "roles/storage.objectUser"
  member = each.value
}

# In a versioned bucket an overwrite is a FINALIZE and an ARCHIVE, a delete an ARCHIVE; DELETE comes as
# an old generation goes: https://cloud.google.com/storage/docs/pubsub-notifications#events
resource "google_storage_notification" "models" {
  bucket         = google_storage_bucket.models.name
  topic          = google_pubsub_topic.pushed["model-events"].id
  payload_format = "JSON_API_V1"
  event_types    = ["OBJECT_FINALIZE", "OBJECT_DELETE", "OBJECT_ARCHIVE"]

  # Cloud Storage tries the topic as the notification is made.
  depends_on = [google_pubsub_topic_iam_member.storage_publishes]
}
