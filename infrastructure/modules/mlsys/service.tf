locals {
  # The service's settings: lib/mlsys/settings/reading.py. Empty values keep their defaults.
  environment = {
    GCP_PROJECT_ID                        = var.project
    GCP_REGION                            = var.region
    "GCS_BUCKET_MODELS_${upper(var.env)}" = google_storage_bucket.models.name
    "GCS_BUCKET_RUNS_${upper(var.env)}"   = google_storage_bucket.runs.name
    MLSYS_ALIAS_GUARDS                    = length(var.alias_guards) == 0 ? "" : jsonencode({ (var.env) = var.alias_guards })
    MLSYS_ENVS                            = var.env
    MLSYS_INPUT_DATASETS                  = join(",", local.input_datasets)
    MLSYS_JOB                             = local.job
    MLSYS_JOB_CPUS                        = tostring(var.job_cpu)
    MLSYS_JOB_TASKS                       = tostring(var.job_tasks)
    MLSYS_MAX_MODEL_BYTES                 = var.max_model_bytes == null ? "" : tostring(var.max_model_bytes)
    MLSYS_MAX_RUNS                        = var.max_runs == null ? "" : tostring(var.max_runs)
    MLSYS_MODELS                          = var.models
    MLSYS_MODEL_SIGNING_KEY               = join(",", var.model_signing_keys)
    MLSYS_OUTPUT_DATASETS                 = join(",", local.output_datasets)
    MLSYS_PUSH_AUDIENCE                   = local.service_url
    MLSYS_PUSH_AUTH                       = "platform"
    MLSYS_PUSH_SERVICE_ACCOUNT            = google_service_account.push.email
    MLSYS_REQUEST_TIMEOUT                 = tostring(local.request_timeout)
    MLSYS_ROLE                            = "api"
    MLSYS_TRUSTED_GLOBALS                 = join(",", var.trusted_globals)
  }

  # What the service and the job are given.
  set_environment = { for name, value in local.environment : name => value if value != "" }

  # Keyed by role, so a change to a list of people does not touch the accounts.
  invokers = merge(
    {
      push      = google_service_account.push.member
      scheduler = google_service_account.scheduler.member
      deploy    = local.deploy_member # calls /health of a new revision before it gets traffic
    },
    { for member in var.invokers : member => member },
  )
}

resource "google_cloud_run_v2_service" "this" {
  project             = var.project
  name                = local.name
  location            = var.region
  deletion_protection = var.deletion_protection

  # Callers come from anywhere and must authenticate: with this check off, push tokens would be
  # accepted unverified (MLSYS_PUSH_AUTH=platform).
  ingress              = "INGRESS_TRAFFIC_ALL"
  invoker_iam_disabled = false

  template {
    service_account                  = google_service_account.runtime.email
    execution_environment            = "EXECUTION_ENVIRONMENT_GEN2" # a full Linux: the sandboxes need its filters
    timeout                          = "${local.request_timeout}s"
    max_instance_request_concurrency = var.concurrency

    scaling {
      max_instance_count = var.max_instances
    }

    containers {
      name  = "mlsys"
      image = var.image

      ports {
        container_port = 8080
      }

      dynamic "env" {
        for_each = local.set_environment

        content {
          name  = env.key
          value = env.value
        }
      }

      resources {
        limits = {
          cpu    = tostring(var.cpu)
          memory = var.memory
        }
        cpu_idle          = true # CPU is billed only while requests are answered
        startup_cpu_boost = true
      }

      startup_probe {
        period_seconds    = 1
        timeout_seconds   = 1 # at most the period
        failure_threshold = 120

        http_get {
          path = "/health"
        }
      }

      liveness_probe {
        period_seconds    = 30
        timeout_seconds   = 10
        failure_threshold = 4 # two minutes: a busy machine answers late, and its work would be lost

        http_get {
          path = "/health"
        }
      }
    }
  }

  # The deploy workflow owns the image and the traffic: docs/decisions/0018. The revision's name is not
  # ignored: Terraform would send the old name with the next change, and Cloud Run would reject it.
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

  # The first instance checks the resources that its settings name.
  depends_on = [
    google_bigquery_dataset_iam_member.runtime_edits_own,
    google_cloud_run_v2_job_iam_member.runtime_runs,
    google_project_iam_member.runtime_bigquery,
    google_storage_bucket_iam_member.runtime_keeps_runs,
    google_storage_bucket_iam_member.runtime_reads_models,
  ]
}

resource "google_cloud_run_v2_service_iam_member" "invokers" {
  for_each = local.invokers

  project  = var.project
  location = var.region
  name     = google_cloud_run_v2_service.this.name
  role     = "roles/run.invoker"
  member   = each.value
}

# May create revisions and move traffic of this service, but not change who may call it.
resource "google_cloud_run_v2_service_iam_member" "deploy" {
  project  = var.project
  location = var.region
  name     = google_cloud_run_v2_service.this.name
  role     = "roles/run.developer"
  member   = local.deploy_member
}

# Reads which image a revision runs; a role on the service alone may not cover its revisions.
resource "google_project_iam_member" "deploy_views" {
  project = var.project
  role    = "roles/run.viewer"
  member  = local.deploy_member
}
