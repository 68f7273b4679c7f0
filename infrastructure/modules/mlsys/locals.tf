data "google_project" "this" {
  project_id = var.project
}

# Reading it also creates the agent if it does not exist yet.
data "google_storage_project_service_account" "this" {
  project = var.project
}

locals {
  # Keyed by role, so a change to a list of people does not touch the account.
  model_writers = merge({ deploy = local.deploy_member }, { for member in var.model_writers : member => member })

  name   = "mlsys-${var.env}"
  job    = "mlsys-score-${var.env}"
  number = data.google_project.this.number

  # The deterministic URL is known before the service exists, so it can be passed to the service, which
  # checks the audience of push tokens against it:
  # https://cloud.google.com/run/docs/triggering/https-request#deterministic
  service_url = "https://${local.name}-${local.number}.${var.region}.run.app"

  location = coalesce(var.location, var.region)

  # Seconds that a request may take: Cloud Run's maximum.
  request_timeout = 3600

  # Created by infrastructure/bootstrap, which alone decides who may act as it.
  deploy_member = "serviceAccount:mlsys-deploy-${var.env}@${var.project}.iam.gserviceaccount.com"

  pubsub_agent = "serviceAccount:service-${local.number}@gcp-sa-pubsub.iam.gserviceaccount.com"
}
