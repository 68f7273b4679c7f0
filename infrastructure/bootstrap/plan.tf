# The account that shows on a pull request what it would change in dev. It sees how resources are
# made and who has which right: no row, no object but dev's state, no line of a log. Forks get no
# token from GitHub, so that only who may push to the repository gets here.
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
  description = "What terraform plan reads of infrastructure/envs/dev"

  permissions = [
    "bigquery.datasets.get",
    "bigquery.datasets.getIamPolicy",
    "bigquery.tables.get",
    "cloudscheduler.jobs.get",
    "iam.serviceAccounts.get",
    "iam.serviceAccounts.getIamPolicy",
    "logging.logMetrics.get",
    "monitoring.alertPolicies.get",
    "monitoring.dashboards.get",
    "pubsub.subscriptions.get",
    "pubsub.subscriptions.getIamPolicy",
    "pubsub.topics.get",
    "pubsub.topics.getIamPolicy",
    "resourcemanager.projects.get",
    "resourcemanager.projects.getIamPolicy",
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

# Reading alone: it plans with -lock=false.
resource "google_storage_bucket_iam_member" "plan_reads_state" {
  bucket = google_storage_bucket.state["dev"].name
  role   = "roles/storage.objectViewer"
  member = google_service_account.plan.member
}
