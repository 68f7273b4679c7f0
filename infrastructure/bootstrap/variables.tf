variable "apply_from_github" {
  description = "Environments whose Terraform the deploy workflow applies, such as [\"dev\"]; elsewhere a person does. Each needs a project of its own."
  type        = set(string)
  default     = []

  validation {
    condition     = length(setsubtract(var.apply_from_github, ["dev", "staging", "prod"])) == 0
    error_message = "Pass dev, staging or prod."
  }

  validation {
    condition = alltrue([
      for env in var.apply_from_github :
      length([for project in concat(values(var.projects), [var.shared_project]) : project if project == var.projects[env]]) == 1
    ])
    error_message = "An environment that shares its project cannot be applied from GitHub: its account could change the others."
  }
}

variable "bucket_prefix" {
  description = "What stands before the buckets' names, as \"my-project-\"; the same as in the environments."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^([a-z0-9][a-z0-9-]{0,40}-)?$", var.bucket_prefix))
    error_message = "Pass lower-case letters, digits and hyphens with a hyphen at the end, or nothing."
  }
}

variable "github_repository" {
  description = "The repository whose workflows deploy, OWNER/NAME."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9-]+/[A-Za-z0-9._-]+$", var.github_repository))
    error_message = "Pass OWNER/NAME."
  }
}

variable "github_repository_id" {
  description = "The repository's number: gh api repos/OWNER/NAME --jq .id"
  type        = string

  validation {
    condition     = can(regex("^[0-9]+$", var.github_repository_id))
    error_message = "Pass the number that GitHub gave the repository."
  }
}

variable "projects" {
  description = <<-EOT
    The project of each environment. One each is recommended. They may be the same: names, accounts and
    rights on buckets, datasets and topics still differ by environment, but quotas, APIs, the right to
    start BigQuery jobs, and the project's owners, editors and viewers are then common to all of them.
  EOT
  type = object({
    dev     = string
    staging = string
    prod    = string
  })
}

variable "region" {
  description = "Where images and states lie."
  type        = string
  default     = "us-central1"
}

variable "shared_project" {
  description = "The project of the images and of GitHub's federation; may be that of an environment."
  type        = string
}
