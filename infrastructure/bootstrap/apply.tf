# Accounts that apply Terraform for the deploy workflow, in the environments that ask for one. An
# account that can apply can grant itself every role in the project, so an environment that shares its
# project with another environment cannot have one: dev would own prod.
resource "google_service_account" "apply" {
  for_each = var.apply_from_github

  project      = var.projects[each.key]
  account_id   = "mlsys-apply-${each.key}"
  display_name = "mlsys ${each.key}: terraform apply of the deploy workflow"
}

# Only for jobs that run in the GitHub environment of that name, like the deploy account.
resource "google_service_account_iam_member" "apply" {
  for_each = google_service_account.apply

  service_account_id = each.value.name
  role               = "roles/iam.workloadIdentityUser"
  member             = "${local.github}/attribute.environment/${each.key}"
}

locals {
  # The roles needed to create what modules/mlsys defines.
  apply_roles = [
    "roles/bigquery.admin",
    "roles/cloudscheduler.admin",
    "roles/iam.serviceAccountAdmin",
    "roles/iam.serviceAccountUser",
    "roles/iap.admin",
    "roles/logging.configWriter",
    "roles/monitoring.editor",
    "roles/pubsub.admin",
    "roles/resourcemanager.projectIamAdmin",
    "roles/run.admin",
    "roles/storage.admin",
  ]
}

resource "google_project_iam_member" "apply" {
  for_each = { for pair in setproduct(var.apply_from_github, local.apply_roles) : "${pair[0]}/${pair[1]}" => pair }

  project = var.projects[each.value[0]]
  role    = each.value[1]
  member  = google_service_account.apply[each.value[0]].member
}
