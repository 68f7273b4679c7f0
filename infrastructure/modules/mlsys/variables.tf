variable "bucket_prefix" {
  description = "What stands before the buckets' names, as \"my-project-\": names of buckets are taken once in the world."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^([a-z0-9][a-z0-9-]{0,40}-)?$", var.bucket_prefix))
    error_message = "Pass lower-case letters, digits and hyphens with a hyphen at the end, or nothing."
  }
}

variable "cpu" {
  description = "CPUs of an instance: a run is spread over all of them."
  type        = number
  default     = 2

  validation {
    condition     = contains([1, 2, 4, 6, 8], var.cpu)
    error_message = "Cloud Run has instances of 1, 2, 4, 6 or 8 CPUs."
  }
}

variable "deletion_protection" {
  description = "Whether Terraform refuses to delete the service, the tables, and buckets and datasets that hold something."
  type        = bool
  default     = true
}

variable "env" {
  description = "The environment: dev, staging or prod."
  type        = string

  validation {
    condition     = contains(["dev", "staging", "prod"], var.env)
    error_message = "Pass dev, staging or prod."
  }
}

variable "image" {
  description = "The first image of the service, by digest. Later ones are the deploy workflow's: docs/decisions/0018."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9.:-]+/[a-z0-9._/-]+@sha256:[0-9a-f]{64}$", var.image))
    error_message = "Name the image by its digest, HOST/PROJECT/REPOSITORY/NAME@sha256: and 64 hexadecimal digits: a tag can move."
  }
}

variable "input_datasets" {
  description = "Datasets that the service may read tables of, each as project.dataset, besides its own."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for d in var.input_datasets : can(regex("^[a-z][a-z0-9-]*\\.[A-Za-z0-9_]+$", d))])
    error_message = "Name each dataset as project.dataset."
  }

  validation {
    condition     = alltrue([for d in var.input_datasets : !can(regex("\\.mlsys_(dev|staging|prod)$", d))])
    error_message = "A dataset mlsys_{env} is its environment's alone, which reads it anyway."
  }
}

variable "invokers" {
  description = "Who may call the service, as IAM members: \"group:analysts@example.com\"."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for m in var.invokers : can(regex("^(user|group|domain|serviceAccount):.+", m))])
    error_message = "Pass user:, group:, domain: or serviceAccount: members. The service trusts Cloud Run to have checked who calls, so it is never public."
  }
}

variable "location" {
  description = "Where buckets and dataset lie; null: the region. It must be that of the tables to score: \"US\", \"EU\" or a region."
  type        = string
  default     = null
}

variable "max_instances" {
  description = "Instances at the same time, at the most: what bounds the bill."
  type        = number
  default     = 10

  validation {
    condition     = var.max_instances >= 1 && var.max_instances <= 100
    error_message = "Pass 1 to 100."
  }
}

variable "max_model_bytes" {
  description = "How large a model.pkl may be, and what it unpacks to; null: the service's own default."
  type        = number
  default     = null
}

variable "memory" {
  description = "Memory of an instance; its files lie in it too. Cloud Run wants 2Gi or more for 4 CPUs, 4Gi for 6 and 8."
  type        = string
  default     = "2Gi"

  validation {
    condition     = can(regex("^[1-9][0-9]*Gi$", var.memory))
    error_message = "Pass whole gibibytes: 2Gi."
  }
}

variable "model_readers" {
  description = "Who may take models from here to the next environment (mlsys promote), as IAM members: that environment's deploy account."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for m in var.model_readers : can(regex("^(user|group|serviceAccount):.+", m))])
    error_message = "Pass user:, group: or serviceAccount: members."
  }
}

variable "model_signing_keys" {
  description = "Public keys, as `mlsys sign new-key` prints them. With one, the service uses no model without a signature by it."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for k in var.model_signing_keys : can(regex("^MCowBQYDK2VwAyEA[A-Za-z0-9+/]{43}=$", k))])
    error_message = "Pass Ed25519 public keys: base64 of their DER form."
  }
}

variable "model_writers" {
  description = "Who may upload models and see the registry, as IAM members. Give it to few: it decides what code runs."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for m in var.model_writers : can(regex("^(user|group|serviceAccount):.+", m))])
    error_message = "Pass user:, group: or serviceAccount: members."
  }
}

variable "notification_channels" {
  description = "Where alerts go: projects/PROJECT/notificationChannels/NUMBER. Without any they are on the console alone."
  type        = list(string)
  default     = []
}

variable "output_datasets" {
  description = "Datasets that the service may write tables of, each as project.dataset, besides its own."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for d in var.output_datasets : can(regex("^[a-z][a-z0-9-]*\\.[A-Za-z0-9_]+$", d))])
    error_message = "Name each dataset as project.dataset."
  }

  validation {
    condition     = alltrue([for d in var.output_datasets : !can(regex("\\.mlsys_(dev|staging|prod)$", d))])
    error_message = "A dataset mlsys_{env} is its environment's alone, which writes it anyway."
  }
}

variable "project" {
  description = "The environment's Google Cloud project, by its id."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "Pass the project's id, not its name or number."
  }
}

variable "region" {
  description = "The region of the service, the scheduler and, unless location says otherwise, the data."
  type        = string
  default     = "us-central1"
}

variable "rescan_schedule" {
  description = "When the whole bucket is compared with the registry, in cron's form and time_zone."
  type        = string
  default     = "17 3 * * *"
}

variable "scheduled_predictions" {
  description = <<-EOT
    Predictions by the clock: a name, the schedule in cron's form, and the parameters of GET /predict.
    Parameters that are null are left out. The same table, unchanged, is the same run: nothing is scored
    again. A view has no state to compare, so each time is a new run: use WRITE_TRUNCATE there.
  EOT
  type = map(object({
    schedule          = string
    input_table       = string
    output_table      = string
    model_name        = string
    model_version     = optional(string, "latest")
    id_columns        = optional(string)
    outputs           = optional(string)
    prediction_column = optional(string)
    class_columns     = optional(string)
    where             = optional(string)
    max_rejects       = optional(string)
    write_disposition = optional(string, "WRITE_TRUNCATE")
  }))
  default = {}

  validation {
    condition     = alltrue([for name in keys(var.scheduled_predictions) : can(regex("^[a-z0-9]+(-[a-z0-9]+)*$", name))])
    error_message = "Names are lower-case words joined by hyphens."
  }

  validation {
    condition = alltrue([
      for p in values(var.scheduled_predictions) : contains(["WRITE_TRUNCATE", "WRITE_APPEND"], p.write_disposition)
    ])
    error_message = "A schedule writes again and again: WRITE_TRUNCATE or WRITE_APPEND."
  }
}

variable "time_zone" {
  description = "The time zone of all schedules, as in the tz database."
  type        = string
  default     = "Etc/UTC"
}

variable "trusted_globals" {
  description = "What models may be made of besides scikit-learn's parts: exact names, \"churn.features.Ratio\"."
  type        = list(string)
  default     = []
}
