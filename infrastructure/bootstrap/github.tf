# GitHub's jobs sign in with the token that GitHub gives each of them; there is no key to lose.
resource "google_iam_workload_identity_pool" "github" {
  project                   = var.shared_project
  workload_identity_pool_id = "github"
  display_name              = "GitHub Actions"

  depends_on = [google_project_service.apis]
}

resource "google_iam_workload_identity_pool_provider" "github" {
  project                            = var.shared_project
  workload_identity_pool_id          = google_iam_workload_identity_pool.github.workload_identity_pool_id
  workload_identity_pool_provider_id = "mlsys"
  display_name                       = "mlsys"

  # All of GitHub has one issuer, so the repository is the boundary. By name and number: a name can
  # be taken anew by somebody else once it is free.
  attribute_condition = "assertion.repository == '${var.github_repository}' && assertion.repository_id == '${var.github_repository_id}'"

  # Not the subject is bound to, whose form differs between repositories since June 2026, but the
  # claims themselves. Only jobs with an environment have that claim, and reading one that is not
  # there would refuse the token.
  attribute_mapping = {
    "google.subject"        = "assertion.sub"
    "attribute.environment" = "has(assertion.environment) && assertion.ref == 'refs/heads/main' ? assertion.environment : ''"
    "attribute.event_name"  = "assertion.event_name"
    "attribute.repository"  = "assertion.repository"
  }

  oidc {
    issuer_uri = "https://token.actions.githubusercontent.com"
  }
}

# Rolls out images and promotes models: its rights are in modules/mlsys. It does not apply Terraform,
# for an account that can apply can give itself every right (apply.tf).
resource "google_service_account" "deploy" {
  for_each = var.projects

  project      = each.value
  account_id   = "mlsys-deploy-${each.key}"
  display_name = "mlsys ${each.key}: the deploy workflow"
}

# Only jobs of the main branch that run in the GitHub environment of that name: a branch may bring
# workflows of its own. Who must approve is set in the environment: docs/deploying.md.
resource "google_service_account_iam_member" "deploy" {
  for_each = google_service_account.deploy

  service_account_id = each.value.name
  role               = "roles/iam.workloadIdentityUser"
  member             = "${local.github}/attribute.environment/${each.key}"
}
