output "apply_accounts" {
  description = "APPLY_ACCOUNT of each GitHub environment that has one."
  value       = { for env, account in google_service_account.apply : env => account.email }
}

output "deploy_accounts" {
  description = "DEPLOY_ACCOUNT of each GitHub environment."
  value       = { for env, account in google_service_account.deploy : env => account.email }
}

output "image_repository" {
  description = "The repository that images are pushed to."
  value       = "${var.region}-docker.pkg.dev/${var.shared_project}/${google_artifact_registry_repository.images.repository_id}"
}

output "plan_account" {
  description = "PLAN_ACCOUNT of the GitHub repository."
  value       = google_service_account.plan.email
}

output "state_buckets" {
  description = "The buckets of the environments' states."
  value       = { for env, bucket in google_storage_bucket.state : env => bucket.name }
}

output "workload_identity_provider" {
  description = "WORKLOAD_IDENTITY_PROVIDER of the GitHub repository."
  value       = google_iam_workload_identity_pool_provider.github.name
}
