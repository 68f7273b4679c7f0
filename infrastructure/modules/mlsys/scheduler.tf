# Repairs the effects of a lost notification: Pub/Sub drops a message that it could not deliver for a
# week.
resource "google_cloud_scheduler_job" "rescan" {
  project     = var.project
  region      = var.region
  name        = "mlsys-rescan-${var.env}"
  description = "Compares the whole models bucket with the registry"
  schedule    = var.rescan_schedule
  time_zone   = var.time_zone

  attempt_deadline = "1800s" # the maximum

  retry_config {
    retry_count          = 3
    min_backoff_duration = "60s"
  }

  http_target {
    http_method = "GET"
    uri         = "${local.service_url}/model-registry?env=${var.env}"

    oidc_token {
      service_account_email = google_service_account.scheduler.email
      audience              = local.service_url
    }
  }

  depends_on = [google_cloud_run_v2_service_iam_member.invokers]
}

locals {
  queries = {
    for key, prediction in var.scheduled_predictions : key => [
      for name, value in merge(prediction, { env = var.env, wait = "false" }) : "${name}=${urlencode(value)}" if name != "schedule" && value != null
    ]
  }
}

# By HTTP, not by the topic: the answer to wait=false names the run, so Pub/Sub repeats that run even if
# the table changes meanwhile, and a refused request shows in the job's log.
resource "google_cloud_scheduler_job" "predictions" {
  for_each = var.scheduled_predictions

  project     = var.project
  region      = var.region
  name        = "mlsys-predict-${each.key}-${var.env}"
  description = "Scores ${each.value.input_table} with ${each.value.model_name} ${each.value.model_version}"
  schedule    = each.value.schedule
  time_zone   = var.time_zone

  attempt_deadline = "600s" # planning loads the model

  retry_config {
    retry_count          = 3
    min_backoff_duration = "60s"
  }

  http_target {
    http_method = "GET"
    uri         = "${local.service_url}/predict?${join("&", local.queries[each.key])}"

    oidc_token {
      service_account_email = google_service_account.scheduler.email
      audience              = local.service_url
    }
  }

  depends_on = [google_cloud_run_v2_service_iam_member.invokers]
}
