# An account that can apply can grant itself every role, so it exists only on request and never reaches
# another environment.
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

run "github_applies_nothing_by_default" {
  assert {
    condition     = length(google_service_account.apply) == 0 && length(google_project_iam_member.apply) == 0
    error_message = "An apply account exists."
  }
}

run "an_apply_account_belongs_to_its_environment" {
  variables {
    apply_from_github = ["dev"]
  }
  assert {
    condition     = keys(google_service_account.apply) == ["dev"] && google_service_account.apply["dev"].project == "example-dev"
    error_message = "The account belongs to another environment."
  }
  assert {
    condition     = alltrue([for m in google_project_iam_member.apply : m.project == "example-dev"])
    error_message = "dev's account has roles in another project."
  }
  assert {
    condition     = google_service_account_iam_member.apply["dev"].member == "principalSet://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/github/attribute.environment/dev"
    error_message = "Jobs other than dev's can apply."
  }
}

run "an_environment_that_shares_its_project_cannot_have_one" {
  command = plan
  variables {
    projects          = { dev = "example-all", staging = "example-all", prod = "example-all" }
    apply_from_github = ["dev"]
  }
  expect_failures = [var.apply_from_github]
}
