# The console: the service's image in another role, as an account of its own that reads everything of
# the environment, publishes requests, and writes only what its actions leave: docs/decisions/0121.
locals {
  console = "mlsys-web-${var.env}"

  # Instances, CPUs and memory: pages, and checks of a request, which load its model.
  console_size = { max_instances = 2, cpu = 1, memory = "2Gi" }

  # What Identity-Aware Proxy signs for: https://cloud.google.com/iap/docs/signed-headers-howto
  iap_audience = "/projects/${local.number}/locations/${var.region}/services/${local.console}"
  iap_agent    = "serviceAccount:service-${local.number}@gcp-sa-iap.iam.gserviceaccount.com"

  console_environment = merge(
    local.set_environment,
    { MLSYS_REQUEST_TIMEOUT = "300", MLSYS_ROLE = "web" },
    var.console_iap ? { MLSYS_IAP_AUDIENCE = local.iap_audience } : {},
  )
}

resource "google_service_account" "console" {
  project      = var.project
  account_id   = local.console
  display_name = "mlsys ${var.env}: the console"
}

# Version 6 of the provider cannot switch Identity-Aware Proxy on (docs/decisions/0088): docs/deploying.md
# has the command. Until it is on, only its agent may call, so nobody gets in.
resource "google_cloud_run_v2_service" "console" {
  project             = var.project
  name                = local.console
  location            = var.region
  deletion_protection = var.deletion_protection

  ingress              = "INGRESS_TRAFFIC_ALL"
  invoker_iam_disabled = false

  template {
    service_account                  = google_service_account.console.email
    execution_environment            = "EXECUTION_ENVIRONMENT_GEN2"
    timeout                          = "300s"
    max_instance_request_concurrency = 8

    scaling {
      max_instance_count = local.console_size.max_instances
    }

    containers {
      name  = "mlsys"
      image = var.image

      ports {
        container_port = 8080
      }

      dynamic "env" {
        for_each = local.console_environment

        content {
          name  = env.key
          value = env.value
        }
      }

      resources {
        limits = {
          cpu    = tostring(local.console_size.cpu)
          memory = local.console_size.memory
        }
        cpu_idle          = true
        startup_cpu_boost = true
      }

      startup_probe {
        period_seconds    = 1
        timeout_seconds   = 1
        failure_threshold = 120

        http_get {
          path = "/health"
        }
      }
    }
  }

  # The deploy workflow moves it with the service: docs/decisions/0018.
  lifecycle {
    ignore_changes = [
      client,
      client_version,
      template[0].annotations,
      template[0].containers[0].image,
      template[0].labels,
      traffic,
    ]
  }
}

# Behind the proxy only its agent may call; without it (docs/deploying.md) the people themselves.
resource "google_cloud_run_v2_service_iam_member" "console_invokers" {
  for_each = var.console_iap ? { iap = local.iap_agent } : { for member in var.console_users : member => member }

  project  = var.project
  location = var.region
  name     = google_cloud_run_v2_service.console.name
  role     = "roles/run.invoker"
  member   = each.value
}

resource "google_iap_web_cloud_run_service_iam_member" "console_users" {
  for_each = var.console_iap ? toset(var.console_users) : []

  project                = var.project
  location               = var.region
  cloud_run_service_name = google_cloud_run_v2_service.console.name
  role                   = "roles/iap.httpsResourceAccessor"
  member                 = each.key
}

resource "google_cloud_run_v2_service_iam_member" "console_deploy" {
  project  = var.project
  location = var.region
  name     = google_cloud_run_v2_service.console.name
  role     = "roles/run.developer"
  member   = local.deploy_member
}

resource "google_service_account_iam_member" "deploy_acts_as_console" {
  service_account_id = google_service_account.console.name
  role               = "roles/iam.serviceAccountUser"
  member             = local.deploy_member
}

# Queries; read sessions, which a check opens; and whether a run's execution goes on.
resource "google_project_iam_member" "console" {
  for_each = toset(["roles/bigquery.jobUser", "roles/bigquery.readSessionUser", "roles/run.viewer"])

  project = var.project
  role    = each.key
  member  = google_service_account.console.member
}

resource "google_bigquery_dataset_iam_member" "console_reads_own" {
  project    = var.project
  dataset_id = google_bigquery_dataset.this.dataset_id
  role       = "roles/bigquery.dataViewer"
  member     = google_service_account.console.member
}

resource "google_bigquery_dataset_iam_member" "console_reads" {
  for_each = toset(concat(var.input_datasets, var.output_datasets))

  project    = split(".", each.key)[0]
  dataset_id = split(".", each.key)[1]
  role       = "roles/bigquery.dataViewer"
  member     = google_service_account.console.member
}

# The rows of what it does: an alias that it moved, a run that it cancelled.
resource "google_bigquery_table_iam_member" "console_records" {
  for_each = toset(["model_aliases", "prediction_runs"])

  project    = var.project
  dataset_id = google_bigquery_dataset.this.dataset_id
  table_id   = google_bigquery_table.this[each.key].table_id
  role       = "roles/bigquery.dataEditor"
  member     = google_service_account.console.member
}

resource "google_storage_bucket_iam_member" "console_reads" {
  for_each = { models = google_storage_bucket.models.name, runs = google_storage_bucket.runs.name }

  bucket = each.value
  role   = "roles/storage.objectViewer"
  member = google_service_account.console.member
}

resource "google_storage_bucket_iam_member" "console_moves_aliases" {
  bucket = google_storage_bucket.models.name
  role   = "roles/storage.objectUser"
  member = google_service_account.console.member

  condition {
    title      = "Only the objects of aliases"
    expression = local.only_aliases
  }
}

# Creates, and can neither replace nor delete: the record of a move, the cancellation of a run, which
# competes with what the run would publish, and the decision to undo one, which the service carries out
# (docs/decisions/0082, 0089, 0140).
resource "google_storage_bucket_iam_member" "console_records" {
  bucket = google_storage_bucket.runs.name
  role   = "roles/storage.objectCreator"
  member = google_service_account.console.member

  condition {
    title      = "Only records of moves, and ends of runs"
    expression = <<-EOT
      resource.name.startsWith("projects/_/buckets/${google_storage_bucket.runs.name}/objects/_aliases/") ||
      (resource.name.endsWith("/publish.json") && resource.name.extract("/objects/{run}/") != "" &&
      resource.name.extract("/objects/{run}/publish.json") == resource.name.extract("/objects/{run}/")) ||
      (resource.name.endsWith("/undo.json") && resource.name.extract("/objects/{run}/") != "" &&
      resource.name.extract("/objects/{run}/undo.json") == resource.name.extract("/objects/{run}/"))
    EOT
  }
}

# A message that is published again is removed from quarantine.
resource "google_storage_bucket_iam_member" "console_replays" {
  bucket = google_storage_bucket.runs.name
  role   = "roles/storage.objectUser"
  member = google_service_account.console.member

  condition {
    title      = "Only messages in quarantine"
    expression = "resource.name.startsWith(\"projects/_/buckets/${google_storage_bucket.runs.name}/objects/quarantine/\")"
  }
}

# Requests, hints to look at an object, and the announcements of what it did.
resource "google_pubsub_topic_iam_member" "console_publishes" {
  for_each = {
    predictions  = google_pubsub_topic.pushed["predictions"].name
    model-events = google_pubsub_topic.pushed["model-events"].name
    events       = google_pubsub_topic.announcements.name
  }

  project = var.project
  topic   = each.value
  role    = "roles/pubsub.publisher"
  member  = google_service_account.console.member
}
