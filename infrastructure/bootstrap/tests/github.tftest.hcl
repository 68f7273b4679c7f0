# Only jobs of a GitHub environment can use that environment's account.
mock_provider "google" {
  mock_resource "google_iam_workload_identity_pool" {
    defaults = {
      name = "projects/1/locations/global/workloadIdentityPools/github"
    }
  }
}

variables {
  shared_project       = "example-shared"
  projects             = { dev = "example-dev", staging = "example-staging", prod = "example-prod" }
  github_repository    = "example/mlsys"
  github_repository_id = "42"
}

run "only_an_environments_jobs_act_as_its_account" {
  assert {
    condition = { for env, m in google_service_account_iam_member.deploy : env => "${m.role} ${m.member}" } == {
      for env in ["dev", "staging", "prod"] :
      env => "roles/iam.workloadIdentityUser principalSet://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/github/attribute.environment/${env}"
    }
    error_message = "Jobs of another environment can use a deploy account."
  }
  assert {
    condition = alltrue([
      for env, m in google_service_account_iam_member.deploy :
      m.service_account_id == google_service_account.deploy[env].name &&
      google_service_account.deploy[env].account_id == "mlsys-deploy-${env}" &&
      google_service_account.deploy[env].project == "example-${env}"
    ])
    error_message = "The account belongs to another environment."
  }
  assert {
    condition     = google_iam_workload_identity_pool_provider.github.attribute_condition == "assertion.repository == 'example/mlsys' && assertion.repository_id == '42'"
    error_message = "Other repositories get a token."
  }
  assert {
    condition     = google_iam_workload_identity_pool_provider.github.attribute_mapping["attribute.environment"] == "has(assertion.environment) && assertion.ref == 'refs/heads/main' ? assertion.environment : ''"
    error_message = "The environment is not the token's own claim, or another branch than main may be in it."
  }
}

run "dev_pushes_images_and_the_others_only_read" {
  assert {
    condition     = google_artifact_registry_repository_iam_member.dev_pushes.member == google_service_account.deploy["dev"].member
    error_message = "Only dev may push images."
  }
  assert {
    condition     = alltrue([for m in google_artifact_registry_repository_iam_member.deploy_reads : m.role == "roles/artifactregistry.reader"])
    error_message = "staging and prod must only read images."
  }
}

run "a_pull_request_reads_only_dev" {
  assert {
    condition = (
      google_service_account.plan.project == "example-dev" && google_project_iam_member.plan.project == "example-dev" &&
      google_storage_bucket_iam_member.plan_reads_state.bucket == "mlsys-terraform-state-dev" &&
      google_storage_bucket_iam_member.plan_reads_state.role == "roles/storage.objectViewer"
    )
    error_message = "The plan account can read more than dev."
  }
  assert {
    condition     = alltrue([for p in google_project_iam_custom_role.plan.permissions : can(regex("\\.(get|getIamPolicy)$", p))])
    error_message = "The plan account can do more than read."
  }
}

run "states_are_versioned_and_private" {
  assert {
    condition = alltrue([
      for env, b in google_storage_bucket.state :
      b.name == "mlsys-terraform-state-${env}" && b.project == "example-${env}" && b.versioning[0].enabled &&
      b.public_access_prevention == "enforced" && b.uniform_bucket_level_access
    ])
    error_message = "A state could be lost or read by others."
  }
}

run "one_project_for_all_works_too" {
  variables {
    shared_project = "example-one"
    projects       = { dev = "example-one", staging = "example-one", prod = "example-one" }
  }

  assert {
    condition     = length(google_service_account.deploy) == 3 && length(google_artifact_registry_repository_iam_member.cloud_run_pulls) == 1
    error_message = "There are not three deploy accounts, or an agent is listed twice."
  }
}
