# Each GitHub job signs in with the token that GitHub issues to it, without a key that could leak.
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

  # All of GitHub shares one issuer, so the repository is the boundary. Check its name and its id:
  # somebody else can register the name again once it is free.
  attribute_condition = "assertion.repository == '${var.github_repository}' && assertion.repository_id == '${var.github_repository_id}'"

  # Bind to the claims, not to the subject: its format differs between repositories since June 2026.
  # Only jobs with an environment have the environment claim, and reading a missing claim would reject
  # the token.
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

# Rolls out images and promotes models; modules/mlsys grants its roles. It does not apply Terraform,
# because an account that can apply can grant itself every role (apply.tf).
resource "google_service_account" "deploy" {
  for_each = var.projects

  project      = each.value
  account_id   = "mlsys-deploy-${each.key}"
  display_name = "mlsys ${each.key}: the deploy workflow"
}

# Only for jobs of the main branch that run in the GitHub environment of that name, because a branch
# can contain its own workflows. The GitHub environment sets the required reviewers: docs/deploying.md.
resource "google_service_account_iam_member" "deploy" {
  for_each = google_service_account.deploy

  service_account_id = each.value.name
  role               = "roles/iam.workloadIdentityUser"
  member             = "${local.github}/attribute.environment/${each.key}"
}
