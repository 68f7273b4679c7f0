# Scores the runs that one instance cannot: docs/decisions/0076. It costs nothing while no run uses it.
resource "google_cloud_run_v2_job" "score" {
  project             = var.project
  name                = local.job
  location            = var.region
  deletion_protection = var.deletion_protection

  template {
    task_count = 1 # the service says for each execution how many

    template {
      service_account       = google_service_account.runtime.email
      execution_environment = "EXECUTION_ENVIRONMENT_GEN2"
      timeout               = "${var.job_timeout}s"
      max_retries           = 3

      containers {
        name    = "mlsys"
        image   = var.image
        command = ["python", "-m", "workers.scoring.engines.task"] # the run comes with the execution

        dynamic "env" {
          for_each = local.set_environment

          content {
            name  = env.key
            value = env.value
          }
        }

        resources {
          limits = {
            cpu    = tostring(var.job_cpu)
            memory = var.job_memory
          }
        }
      }
    }
  }

  # The deploy workflow moves the image with the service's: docs/decisions/0018.
  lifecycle {
    ignore_changes = [
      client,
      client_version,
      template[0].annotations,
      template[0].labels,
      template[0].template[0].containers[0].image,
    ]
  }
}

# Starts this job with arguments and a number of tasks; it may change neither the job nor its image.
resource "google_cloud_run_v2_job_iam_member" "runtime_runs" {
  project  = var.project
  location = var.region
  name     = google_cloud_run_v2_job.score.name
  role     = "roles/run.jobsExecutorWithOverrides"
  member   = google_service_account.runtime.member
}

# Sees whether an execution has ended; a role on the job alone may not cover its executions.
resource "google_project_iam_member" "runtime_views" {
  project = var.project
  role    = "roles/run.viewer"
  member  = google_service_account.runtime.member
}

resource "google_cloud_run_v2_job_iam_member" "deploy" {
  project  = var.project
  location = var.region
  name     = google_cloud_run_v2_job.score.name
  role     = "roles/run.developer"
  member   = local.deploy_member
}
