# The environment's service accounts. Each role is granted beside the resource that it is on;
# infrastructure/bootstrap creates the deploy account.

# The service's runtime account.
resource "google_service_account" "runtime" {
  project      = var.project
  account_id   = "mlsys-sa-${var.env}"
  display_name = "mlsys ${var.env}: the service"
}

# Pub/Sub signs its pushes as this account, which can only call the service.
resource "google_service_account" "push" {
  project      = var.project
  account_id   = "mlsys-push-${var.env}"
  display_name = "mlsys ${var.env}: push subscriptions"
}

# Cloud Scheduler calls the service as this account. It is not the push account, whose token is
# accepted on the event routes.
resource "google_service_account" "scheduler" {
  project      = var.project
  account_id   = "mlsys-scheduler-${var.env}"
  display_name = "mlsys ${var.env}: schedules"
}

# Jobs and read sessions belong to a project, not to a dataset, so these two roles exist only on
# projects. Neither grants access to rows: that takes a role on the dataset as well.
resource "google_project_iam_member" "runtime_bigquery" {
  for_each = toset(["roles/bigquery.jobUser", "roles/bigquery.readSessionUser"])

  project = var.project
  role    = each.key
  member  = google_service_account.runtime.member
}

# mlsys promote queries both registries, each by a job in that registry's project.
resource "google_project_iam_member" "promotes" {
  for_each = merge({ deploy = local.deploy_member }, { for member in var.model_readers : member => member })

  project = var.project
  role    = "roles/bigquery.jobUser"
  member  = each.value
}

resource "google_service_account_iam_member" "push_token_creator" {
  service_account_id = google_service_account.push.name
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = local.pubsub_agent
}

# A new revision runs as the runtime account, so an account that creates one must be allowed to act as
# it.
resource "google_service_account_iam_member" "deploy_acts_as_runtime" {
  service_account_id = google_service_account.runtime.name
  role               = "roles/iam.serviceAccountUser"
  member             = local.deploy_member
}
