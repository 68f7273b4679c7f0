# One repository for all environments: an image that was tested in dev is promoted by its digest and
# never rebuilt.
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
      older_than = "31536000s" # a year: prod may run an old image
    }
  }

  # KEEP overrides DELETE: the newest images stay, whatever their age.
  cleanup_policies {
    id     = "keep-latest"
    action = "KEEP"
    most_recent_versions {
      keep_count = 30
    }
  }

  # Staging and prod run only images that dev released, which the deploy workflow tags.
  cleanup_policies {
    id     = "keep-released"
    action = "KEEP"
    condition {
      tag_state    = "TAGGED"
      tag_prefixes = ["released-"]
    }
  }

  depends_on = [google_project_service.apis]
}

# Cloud Run pulls the image as the service agent of the service's project.
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

# An account that creates a revision needs read access to its image.
resource "google_artifact_registry_repository_iam_member" "apply_reads" {
  for_each = google_service_account.apply

  project    = var.shared_project
  location   = var.region
  repository = google_artifact_registry_repository.images.name
  role       = "roles/artifactregistry.reader"
  member     = each.value.member
}

# Only dev's jobs build and push; the other environments promote existing images.
resource "google_artifact_registry_repository_iam_member" "dev_pushes" {
  project    = var.shared_project
  location   = var.region
  repository = google_artifact_registry_repository.images.name
  role       = "roles/artifactregistry.writer"
  member     = google_service_account.deploy["dev"].member
}
