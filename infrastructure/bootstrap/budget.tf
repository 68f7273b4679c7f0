# Mails when the projects together cost more than planned. Here, and not in the environments: the accounts
# that plan and apply those have no right on the billing account, and need none.
locals {
  budgets = var.monthly_budget == null ? [] : ["mlsys"]
}

# With a person's own credentials the Budgets API answers 403 unless a project is named for its quota:
# https://registry.terraform.io/providers/hashicorp/google/latest/docs/resources/billing_budget
provider "google" {
  alias                 = "billing"
  project               = var.shared_project
  billing_project       = var.shared_project
  user_project_override = true
}

resource "google_project_service" "budgets" {
  for_each = toset(local.budgets)

  project            = var.shared_project
  service            = "billingbudgets.googleapis.com"
  disable_on_destroy = false # other resources may need it
}

resource "google_monitoring_notification_channel" "budget" {
  for_each = length(local.budgets) > 0 ? var.budget_emails : []

  project      = var.shared_project
  display_name = "mlsys budget: ${each.key}"
  type         = "email"
  labels       = { email_address = each.key }

  depends_on = [google_project_service.apis]
}

# It mails and stops nothing. Google mails the billing account's administrators and users too.
resource "google_billing_budget" "this" {
  for_each = toset(local.budgets)
  provider = google.billing

  billing_account = var.billing_account
  display_name    = each.key

  budget_filter {
    projects        = [for project in local.projects : "projects/${data.google_project.this[project].number}"]
    calendar_period = "MONTH"
  }

  # Without a currency it is the billing account's.
  amount {
    specified_amount {
      units = tostring(var.monthly_budget)
    }
  }

  dynamic "threshold_rules" {
    for_each = [0.5, 0.9, 1.0]

    content {
      threshold_percent = threshold_rules.value
    }
  }

  threshold_rules {
    threshold_percent = 1.0
    spend_basis       = "FORECASTED_SPEND"
  }

  dynamic "all_updates_rule" {
    for_each = length(var.budget_emails) > 0 ? [1] : []

    content {
      monitoring_notification_channels = [for channel in google_monitoring_notification_channel.budget : channel.id]
    }
  }

  depends_on = [google_project_service.budgets]
}
