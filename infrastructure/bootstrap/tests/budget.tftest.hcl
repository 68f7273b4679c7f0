# A budget exists only on request, covers every project, and mails the given addresses.
mock_provider "google" {
  mock_resource "google_iam_workload_identity_pool" {
    defaults = {
      name = "projects/1/locations/global/workloadIdentityPools/github"
    }
  }
  mock_data "google_project" {
    defaults = {
      number = "123456789012"
    }
  }
}

mock_provider "google" {
  alias = "billing"
}

variables {
  shared_project       = "example-shared"
  projects             = { dev = "example-dev", staging = "example-staging", prod = "example-prod" }
  github_repository    = "example/mlsys"
  github_repository_id = "42"
}

run "there_is_no_budget_by_default" {
  assert {
    condition     = length(google_billing_budget.this) == 0 && length(google_project_service.budgets) == 0
    error_message = "A budget was made without a billing account."
  }
}

run "a_budget_covers_all_projects_and_warns_before_it_is_spent" {
  variables {
    billing_account = "012345-6789AB-CDEF01"
    monthly_budget  = 50
    budget_emails   = ["on-call@example.com"]
  }
  assert {
    condition = (
      google_billing_budget.this["mlsys"].billing_account == "012345-6789AB-CDEF01" &&
      google_billing_budget.this["mlsys"].amount[0].specified_amount[0].units == "50" &&
      google_billing_budget.this["mlsys"].budget_filter[0].calendar_period == "MONTH"
    )
    error_message = "The account, the amount or the period differs."
  }
  assert {
    condition = google_billing_budget.this["mlsys"].budget_filter[0].projects == toset([
      for project in ["example-shared", "example-dev", "example-staging", "example-prod"] : "projects/${data.google_project.this[project].number}"
    ])
    error_message = "A project's costs are not counted."
  }
  assert {
    condition = [for r in google_billing_budget.this["mlsys"].threshold_rules : "${r.threshold_percent} ${r.spend_basis == "FORECASTED_SPEND"}"] == [
      "0.5 false", "0.9 false", "1 false", "1 true"
    ]
    error_message = "The mails do not come at 50, 90 and 100 %, and when the forecast exceeds the budget."
  }
  assert {
    condition = (
      google_billing_budget.this["mlsys"].all_updates_rule[0].monitoring_notification_channels == tolist([google_monitoring_notification_channel.budget["on-call@example.com"].id]) &&
      google_monitoring_notification_channel.budget["on-call@example.com"].labels == tomap({ email_address = "on-call@example.com" })
    )
    error_message = "The address gets no mail."
  }
  assert {
    condition     = google_project_service.budgets["mlsys"].service == "billingbudgets.googleapis.com"
    error_message = "The API of budgets is not enabled."
  }
}

run "a_budget_without_its_account_is_refused" {
  command = plan
  variables {
    monthly_budget = 50
  }
  expect_failures = [var.billing_account]
}

run "an_account_of_another_form_is_refused" {
  command = plan
  variables {
    billing_account = "my-account"
    monthly_budget  = 50
  }
  expect_failures = [var.billing_account]
}

run "an_amount_and_an_address_of_another_form_are_refused" {
  command = plan
  variables {
    billing_account = "012345-6789AB-CDEF01"
    monthly_budget  = 0.5
    budget_emails   = ["on-call"]
  }
  expect_failures = [var.monthly_budget, var.budget_emails]
}
