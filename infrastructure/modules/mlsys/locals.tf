data "google_project" "this" {
  project_id = var.project
}

# Reading it also creates the agent where it does not exist yet.
data "google_storage_project_service_account" "this" {
  project = var.project
}

locals {
  # Named by role, so that a list of people may change without touching the account.
  model_writers = merge({ deploy = local.deploy_member }, { for member in var.model_writers : member => member })

  name   = "mlsys-${var.env}"
  number = data.google_project.this.number

  # The deterministic URL is known before the service exists, so the service can be told its own
  # address, which it checks push tokens against:
  # https://cloud.google.com/run/docs/triggering/https-request#deterministic
  service_url = "https://${local.name}-${local.number}.${var.region}.run.app"

  location = coalesce(var.location, var.region)

  # The seconds that a request may last: Cloud Run's own maximum.
  request_timeout = 3600

  # Made by infrastructure/bootstrap, which alone decides who may act as it.
  deploy_member = "serviceAccount:mlsys-deploy-${var.env}@${var.project}.iam.gserviceaccount.com"

  pubsub_agent = "serviceAccount:service-${local.number}@gcp-sa-pubsub.iam.gserviceaccount.com"
}
