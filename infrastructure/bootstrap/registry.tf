# One for all environments: what was tried in dev is promoted by its digest, and never built again.
resource "google_artifact_registry_repository" "images" {
  project       = var.shared_project
  location      = var.region
  repository_id = "mlsys"
  format        = "DOCKER"
  description   = "Images of mlsys"

  cleanup_policies {
    id     = "delete-old"
    action = "DELETE"
    condition {
      older_than = "31536000s" # a year: what prod runs may be old
    }
  }

  # Keeping wins over deleting: the newest stay, however old.
  cleanup_policies {
    id     = "keep-latest"
    action = "KEEP"
    most_recent_versions {
      keep_count = 30
    }
  }

  depends_on = [google_project_service.apis]
}

# Cloud Run pulls the image itself, as the service agent of the service's project.
resource "google_artifact_registry_repository_iam_member" "cloud_run_pulls" {
  for_each = toset(values(var.projects))

  project    = var.shared_project
  location   = var.region
  repository = google_artifact_registry_repository.images.name
  role       = "roles/artifactregistry.reader"
  member     = "serviceAccount:service-${data.google_project.this[each.key].number}@serverless-robot-prod.iam.gserviceaccount.com"
}

resource "google_artifact_registry_repository_iam_member" "deploy_reads" {
  for_each = google_service_account.deploy

  project    = var.shared_project
  location   = var.region
  repository = google_artifact_registry_repository.images.name
  role       = "roles/artifactregistry.reader"
  member     = each.value.member
}

# Who makes a revision must see its image.
resource "google_artifact_registry_repository_iam_member" "apply_reads" {
  for_each = google_service_account.apply

  project    = var.shared_project
  location   = var.region
  repository = google_artifact_registry_repository.images.name
  role       = "roles/artifactregistry.reader"
  member     = each.value.member
}

# Only the jobs of dev build and push; the others promote what is there.
resource "google_artifact_registry_repository_iam_member" "dev_pushes" {
  project    = var.shared_project
  location   = var.region
  repository = google_artifact_registry_repository.images.name
  role       = "roles/artifactregistry.writer"
  member     = google_service_account.deploy["dev"].member
}
