# Resources that an owner of the projects creates once: state buckets, APIs, the image repository, and
# which GitHub jobs may act as which account. docs/deploying.md has the commands.
terraform {
  required_version = ">= 1.10"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 6.50"
    }
  }

  # The only resource created by hand: Terraform cannot keep its state in a bucket that it has yet to
  # create. Bootstrap has its own state bucket, because its state describes prod too.
  backend "gcs" {
    bucket = "mlsys-terraform-state-bootstrap"
    prefix = "bootstrap"
  }
}

provider "google" {
  project = var.shared_project
  region  = var.region
}

data "google_project" "this" {
  for_each = toset(local.projects)

  project_id = each.key
}

locals {
  projects = distinct(concat([var.shared_project], values(var.projects)))

  agents = { cloudscheduler = "gcp-sa-cloudscheduler", pubsub = "gcp-sa-pubsub", run = "serverless-robot-prod" }

  apis = [
    "artifactregistry", "bigquery", "bigquerystorage", "cloudresourcemanager", "cloudscheduler", "iam",
    "iamcredentials", "iap", "logging", "monitoring", "pubsub", "run", "serviceusage", "storage", "sts",
  ]

  # principalSet://iam.googleapis.com/projects/NUMBER/locations/global/workloadIdentityPools/github
  github = "principalSet://iam.googleapis.com/${google_iam_workload_identity_pool.github.name}"
}

# A service agent that was created on request (docs/deploying.md) has no role yet:
# https://cloud.google.com/iam/docs/create-service-agents
resource "google_project_iam_member" "agents" {
  for_each = { for pair in setproduct(toset(values(var.projects)), keys(local.agents)) : "${pair[0]}/${pair[1]}" => pair }

  project = each.value[0]
  role    = "roles/${each.value[1]}.serviceAgent"
  member  = "serviceAccount:service-${data.google_project.this[each.value[0]].number}@${local.agents[each.value[1]]}.iam.gserviceaccount.com"

  depends_on = [google_project_service.apis]
}

resource "google_project_service" "apis" {
  for_each = { for pair in setproduct(local.projects, local.apis) : "${pair[0]}/${pair[1]}" => pair }

  project            = each.value[0]
  service            = "${each.value[1]}.googleapis.com"
  disable_on_destroy = false # other resources may need it
}

# Each in its environment's project: people who may change dev must not read prod's state.
resource "google_storage_bucket" "state" {
  for_each = var.projects

  project                     = each.value
  name                        = "${var.bucket_prefix}mlsys-terraform-state-${each.key}"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"

  versioning {
    enabled = true
  }

  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      num_newer_versions         = 20
      days_since_noncurrent_time = 90
    }
  }
}
