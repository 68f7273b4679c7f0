variable "apply_from_github" {
  description = "Environments whose Terraform the deploy workflow applies, such as [\"dev\"]; a person applies the others. Each needs its own project."
  type        = set(string)
  default     = []

  validation {
    condition     = length(setsubtract(var.apply_from_github, ["dev", "staging", "prod"])) == 0
    error_message = "An environment is unknown. Pass dev, staging or prod."
  }

  validation {
    condition = alltrue([
      for env in var.apply_from_github :
      length([for project in concat(values(var.projects), [var.shared_project]) : project if project == var.projects[env]]) == 1
    ])
    error_message = "An environment that shares its project cannot be applied from GitHub: its account could change the others. Give it its own project, or remove it from apply_from_github."
  }
}

variable "billing_account" {
  description = "The billing account of the budget, as 000000-000000-000000. Needed only with monthly_budget."
  type        = string
  default     = null

  validation {
    condition     = var.billing_account == null || can(regex("^[0-9A-F]{6}(-[0-9A-F]{6}){2}$", var.billing_account))
    error_message = "This is not a billing account. Pass the id that `gcloud billing accounts list` prints."
  }

  validation {
    condition     = (var.billing_account == null) == (var.monthly_budget == null)
    error_message = "A budget needs both. Pass billing_account and monthly_budget, or neither."
  }
}

variable "bucket_prefix" {
  description = "Prefix of all bucket names, such as \"my-project-\". Use the same value as in the environments."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^([a-z0-9][a-z0-9-]{0,40}-)?$", var.bucket_prefix))
    error_message = "bucket_prefix is invalid. Pass lower-case letters, digits and hyphens that end with a hyphen, or an empty string."
  }
}

variable "budget_emails" {
  description = "Addresses that get the budget's mails, besides the billing account's administrators and users."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for a in var.budget_emails : can(regex("^[^@ ]+@[^@ ]+$", a))])
    error_message = "This is not an e-mail address. Pass addresses such as you@example.com."
  }

  validation {
    condition     = length(var.budget_emails) <= 5
    error_message = "A budget has at most five addresses. Pass a mailing list's address."
  }
}

variable "github_repository" {
  description = "The GitHub repository whose workflows deploy, as OWNER/NAME."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9-]+/[A-Za-z0-9._-]+$", var.github_repository))
    error_message = "The repository has another form. Pass OWNER/NAME."
  }
}

variable "github_repository_id" {
  description = "The repository's numeric id: gh api repos/OWNER/NAME --jq .id"
  type        = string

  validation {
    condition     = can(regex("^[0-9]+$", var.github_repository_id))
    error_message = "This is not a repository id. Pass the number that `gh api repos/OWNER/NAME --jq .id` prints."
  }
}

variable "monthly_budget" {
  description = "What all the projects may cost together in a month, in the billing account's currency; null for no budget. It sends mails, and stops nothing."
  type        = number
  default     = null

  validation {
    condition     = var.monthly_budget == null ? true : var.monthly_budget >= 1 && floor(var.monthly_budget) == var.monthly_budget
    error_message = "The budget is not a whole amount. Pass 1 or more, or null."
  }
}

variable "projects" {
  description = <<-EOT
    The project of each environment. Use one project per environment if you can. They may be the same:
    names, accounts and roles on buckets, datasets and topics still differ by environment, but quotas,
    APIs, the right to start BigQuery jobs, and the project's owners, editors and viewers are then shared.
  EOT
  type = object({
    dev     = string
    staging = string
    prod    = string
  })
}

variable "region" {
  description = "The region of the image repository and the state buckets."
  type        = string
  default     = "us-central1"
}

variable "shared_project" {
  description = "The project of the image repository and of GitHub's federation. It may be an environment's project."
  type        = string
}
