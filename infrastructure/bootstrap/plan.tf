# The account that plans a pull request's changes to dev. It reads the configuration of resources and
# their IAM policies, but not rows, logs or objects other than dev's state. GitHub issues no token to
# forks, so only people who can push to the repository can use it.
resource "google_service_account" "plan" {
  project      = var.projects["dev"]
  account_id   = "mlsys-plan-dev"
  display_name = "mlsys dev: terraform plan of pull requests"
}

resource "google_service_account_iam_member" "plan" {
  service_account_id = google_service_account.plan.name
  role               = "roles/iam.workloadIdentityUser"
  member             = "${local.github}/attribute.event_name/pull_request"
}

# The predefined viewer roles also read tables, objects or logs.
resource "google_project_iam_custom_role" "plan" {
  project     = var.projects["dev"]
  role_id     = "mlsysPlan"
  title       = "mlsys plan"
  description = "Permissions of terraform plan for infrastructure/envs/dev"

  permissions = [
    "bigquery.datasets.get",
    "bigquery.datasets.getIamPolicy",
    "bigquery.tables.get",
    "bigquery.tables.getIamPolicy",
    "cloudscheduler.jobs.get",
    "iam.serviceAccounts.get",
    "iam.serviceAccounts.getIamPolicy",
    "iap.webServices.getIamPolicy",
    "logging.logMetrics.get",
    "monitoring.alertPolicies.get",
    "monitoring.dashboards.get",
    "monitoring.notificationChannels.get",
    "pubsub.subscriptions.get",
    "pubsub.subscriptions.getIamPolicy",
    "pubsub.topics.get",
    "pubsub.topics.getIamPolicy",
    "resourcemanager.projects.get",
    "resourcemanager.projects.getIamPolicy",
    "run.jobs.get",
    "run.jobs.getIamPolicy",
    "run.services.get",
    "run.services.getIamPolicy",
    "storage.buckets.get",
    "storage.buckets.getIamPolicy",
  ]
}

resource "google_project_iam_member" "plan" {
  project = var.projects["dev"]
  role    = google_project_iam_custom_role.plan.name
  member  = google_service_account.plan.member
}

# Read-only: it plans with -lock=false.
resource "google_storage_bucket_iam_member" "plan_reads_state" {
  bucket = google_storage_bucket.state["dev"].name
  role   = "roles/storage.objectViewer"
  member = google_service_account.plan.member
}
