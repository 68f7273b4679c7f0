variable "alias_guards" {
  description = <<-EOT
    Who may move an alias, and on what evidence: by alias, such as "champion", or by model and alias,
    "titanic-survival/champion", which then counts alone. Every part is optional: docs/deploying.md.
    An empty list of movers is nobody.
  EOT
  type = map(object({
    movers      = optional(list(string)) # e-mails
    why         = optional(bool, false)  # a reason is required
    golden_rows = optional(bool, false)  # the stored predictions are right, when it is moved
    runs = optional(object({
      at_least = number                     # that succeeded with the version
      ledgers  = optional(list(string), []) # lower environments whose runs count too: project.mlsys_staging
    }))
    metrics = optional(map(object({
      at_least = optional(number)
      at_most  = optional(number)
      worse_by = optional(number) # at most, than the version that the alias named before
      better   = optional(string, "higher")
    })), {})
    labels = optional(string) # project.dataset.table.column that the metrics measured.… are about
    shadow = optional(object({
      agreement = number # with the version that the alias named before, as its challenger
      rows      = optional(number, 1)
    }))
  }))
  default = {}

  validation {
    condition     = alltrue([for name in keys(var.alias_guards) : can(regex("^([a-z0-9]+(-[a-z0-9]+)*/)?[a-z0-9]+(-[a-z0-9]+)*$", name)) && !can(regex("(^|/)(latest|v?[0-9]+)$", name))])
    error_message = "This is not an alias. Pass a name such as champion, or titanic-survival/champion."
  }

  validation {
    condition     = alltrue(flatten([for g in values(var.alias_guards) : [for m in coalesce(g.movers, []) : can(regex("^[^@ ]+@[^@ ]+$", m))]]))
    error_message = "A mover is not an e-mail address. Pass addresses such as you@example.com, as in the accounts' tokens."
  }

  validation {
    condition     = alltrue(flatten([for g in values(var.alias_guards) : [for d in try(g.runs.ledgers, []) : can(regex("^[a-z][a-z0-9-]*\\.[A-Za-z0-9_]+$", d))]]))
    error_message = "A ledger is not in the form project.dataset. Pass the dataset of a lower environment, such as my-staging.mlsys_staging."
  }

  validation {
    condition     = alltrue(flatten([for g in values(var.alias_guards) : [for m in values(g.metrics) : contains(["higher", "lower"], m.better) && !(m.at_least == null && m.at_most == null && m.worse_by == null)]]))
    error_message = "A metric bounds nothing, or is better in an unknown way. Pass at_least, at_most or worse_by, and higher or lower as better."
  }
}

variable "alert_emails" {
  description = "Addresses that get the alerts by e-mail. Each becomes a notification channel."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for a in var.alert_emails : can(regex("^[^@ ]+@[^@ ]+$", a))])
    error_message = "This is not an e-mail address. Pass addresses such as you@example.com."
  }
}

variable "bucket_prefix" {
  description = "Prefix of all bucket names, such as \"my-project-\". Bucket names are unique worldwide."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^([a-z0-9][a-z0-9-]{0,40}-)?$", var.bucket_prefix))
    error_message = "bucket_prefix is invalid. Pass lower-case letters, digits and hyphens that end with a hyphen, or an empty string."
  }
}

variable "concurrency" {
  description = "Requests that an instance takes at once, 8 at most: gunicorn's threads. 1 gives every run an instance and its memory, but every event and short request too: docs/decisions/0087."
  type        = number
  default     = 8

  validation {
    condition     = var.concurrency >= 1 && var.concurrency <= 8 && floor(var.concurrency) == var.concurrency
    error_message = "concurrency is out of range. Pass 1 to 8."
  }
}

variable "console_iap" {
  description = "If true, the console is behind Identity-Aware Proxy, which docs/deploying.md switches on. If false, console_users reach it by `gcloud run services proxy`."
  type        = bool
  default     = true
}

variable "console_users" {
  description = "IAM members that may use the console: look at everything of the environment, start and cancel runs, and move aliases."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for m in var.console_users : can(regex("^(user|group|domain|serviceAccount):.+", m))])
    error_message = "The console cannot be public. Pass user:, group:, domain: or serviceAccount: members."
  }
}

variable "cpu" {
  description = "CPUs of an instance. A run uses all of them."
  type        = number
  default     = 2

  validation {
    condition     = contains([1, 2, 4, 6, 8], var.cpu)
    error_message = "Cloud Run does not offer this number of CPUs. Pass 1, 2, 4, 6 or 8."
  }
}

variable "deletion_protection" {
  description = "If true, Terraform refuses to delete the service, the tables, and non-empty buckets and datasets."
  type        = bool
  default     = true
}

variable "env" {
  description = "The environment: dev, staging or prod."
  type        = string

  validation {
    condition     = contains(["dev", "staging", "prod"], var.env)
    error_message = "The environment is unknown. Pass dev, staging or prod."
  }
}

variable "image" {
  description = "The service's first image, by digest. The deploy workflow rolls out later ones: docs/decisions/0018."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9.:-]+/[a-z0-9._/-]+@sha256:[0-9a-f]{64}$", var.image))
    error_message = "The image is not named by its digest. Pass HOST/PROJECT/REPOSITORY/NAME@sha256: and 64 hexadecimal digits: a tag can move."
  }
}

variable "input_datasets" {
  description = "Datasets whose tables the service may read besides its own, each as project.dataset."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for d in var.input_datasets : can(regex("^[a-z][a-z0-9-]*\\.[A-Za-z0-9_]+$", d))])
    error_message = "A dataset is not in the form project.dataset. Pass each as project.dataset."
  }

  validation {
    condition     = alltrue([for d in var.input_datasets : !can(regex("\\.mlsys_(dev|staging|prod)$", d))])
    error_message = "A dataset mlsys_{env} belongs to its environment, which can read it already. Remove it from the list."
  }
}

variable "invokers" {
  description = "IAM members that may call the service, such as \"group:analysts@example.com\"."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for m in var.invokers : can(regex("^(user|group|domain|serviceAccount):.+", m))])
    error_message = "The service cannot be public: it trusts Cloud Run to authenticate callers. Pass user:, group:, domain: or serviceAccount: members."
  }
}

variable "job_cpu" {
  description = "CPUs of a task of the job. A task uses all of them."
  type        = number
  default     = 2

  validation {
    condition     = contains([1, 2, 4, 6, 8], var.job_cpu)
    error_message = "Cloud Run does not offer this number of CPUs. Pass 1, 2, 4, 6 or 8."
  }
}

variable "job_memory" {
  description = "Memory of a task of the job. Cloud Run requires 2Gi or more for 4 CPUs, 4Gi for 6 and 8."
  type        = string
  default     = "2Gi"

  validation {
    condition     = can(regex("^[1-9][0-9]*Gi$", var.job_memory))
    error_message = "The memory is not in whole gibibytes. Pass a value such as 2Gi."
  }
}

variable "job_tasks" {
  description = "Maximum number of tasks of one execution of the job. Together with max_instances it must fit into the region's quota of CPUs."
  type        = number
  default     = 4

  validation {
    condition     = var.job_tasks >= 1 && var.job_tasks <= 10000
    error_message = "job_tasks is out of range. Pass 1 to 10000."
  }
}

variable "job_timeout" {
  description = "Seconds after which Cloud Run ends a task and starts it again. A read session lasts six hours."
  type        = number
  default     = 21600

  validation {
    condition     = var.job_timeout >= 600 && var.job_timeout <= 604800
    error_message = "job_timeout is out of range. Pass 600 to 604800."
  }
}

variable "ledger_readers" {
  description = "IAM members that may read the ledger of runs: the accounts of the next environment's service and console, mlsys-sa-{env} and mlsys-web-{env}, whose alias_guards count runs here."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for m in var.ledger_readers : can(regex("^(user|group|serviceAccount):.+", m))])
    error_message = "A member has another form. Pass user:, group: or serviceAccount: members."
  }
}

variable "location" {
  description = "Location of the buckets and the dataset: \"US\", \"EU\" or a region; null for the service's region. It must be the location of the tables to score."
  type        = string
  default     = null
}

variable "max_instances" {
  description = "Maximum number of concurrent instances, which bounds the bill. A new project's quota in a region is 20 CPUs and 40 GiB, for these and the job's tasks together."
  type        = number
  default     = 5

  validation {
    condition     = var.max_instances >= 1 && var.max_instances <= 100
    error_message = "max_instances is out of range. Pass 1 to 100."
  }
}

variable "max_model_bytes" {
  description = "Maximum bytes of a model.pkl, and of its unpacked content; null for what fits into the memory."
  type        = number
  default     = null
}

variable "max_runs" {
  description = "Maximum number of concurrent runs of an instance; null for those whose models fit into the memory."
  type        = number
  default     = null

  validation {
    condition     = var.max_runs == null ? true : var.max_runs >= 1
    error_message = "max_runs is out of range. Pass 1 or more, or null."
  }
}

variable "memory" {
  description = "Memory of an instance, which also holds its files. 2Gi hold eight runs at once if each model's file has at most 8 MiB; a run that does not fit waits. Cloud Run requires 2Gi or more for 4 CPUs, 4Gi for 6 and 8."
  type        = string
  default     = "2Gi"

  validation {
    condition     = can(regex("^[1-9][0-9]*Gi$", var.memory))
    error_message = "The memory is not in whole gibibytes. Pass a value such as 2Gi."
  }
}

variable "model_readers" {
  description = "IAM members that may promote models from here (mlsys promote): the next environment's deploy account."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for m in var.model_readers : can(regex("^(user|group|serviceAccount):.+", m))])
    error_message = "A member has another form. Pass user:, group: or serviceAccount: members."
  }
}

variable "model_signing_keys" {
  description = "Public keys, as `mlsys sign new-key` prints them. If any is set, the service uses only models signed with one of them."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for k in var.model_signing_keys : can(regex("^MCowBQYDK2VwAyEA[A-Za-z0-9+/]{43}=$", k))])
    error_message = "A key is not an Ed25519 public key. Pass the base64 of its DER form, as `mlsys sign new-key` prints it."
  }
}

variable "model_writers" {
  description = "IAM members that may upload models and read the registry. Keep the list short: a model is code that the service runs."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for m in var.model_writers : can(regex("^(user|group|serviceAccount):.+", m))])
    error_message = "A member has another form. Pass user:, group: or serviceAccount: members."
  }
}

variable "models" {
  description = "What models may be made of: \"listed\" names, or \"any\" code that is installed in the image."
  type        = string
  default     = "listed"

  validation {
    condition     = contains(["listed", "any"], var.models)
    error_message = "The value is unknown. Pass listed or any."
  }
}

variable "notification_channels" {
  description = "Notification channels of the alerts: projects/PROJECT/notificationChannels/NUMBER. Without any, alerts show only in the console."
  type        = list(string)
  default     = []
}

variable "output_datasets" {
  description = "Datasets whose tables the service may write besides its own, each as project.dataset."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for d in var.output_datasets : can(regex("^[a-z][a-z0-9-]*\\.[A-Za-z0-9_]+$", d))])
    error_message = "A dataset is not in the form project.dataset. Pass each as project.dataset."
  }

  validation {
    condition     = alltrue([for d in var.output_datasets : !can(regex("\\.mlsys_(dev|staging|prod)$", d))])
    error_message = "A dataset mlsys_{env} belongs to its environment, which can write it already. Remove it from the list."
  }
}

variable "project" {
  description = "The id of the environment's Google Cloud project."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "This is not a project id. Pass the project's id, not its name or number."
  }
}

variable "region" {
  description = "The region of the service, the scheduler and, unless location says otherwise, the data."
  type        = string
  default     = "us-central1"
}

variable "rescan_schedule" {
  description = "Cron schedule of the rescan, which compares the whole bucket with the registry; in time_zone."
  type        = string
  default     = "17 3 * * *"
}

variable "scheduled_predictions" {
  description = <<-EOT
    Scheduled predictions: a name, a cron schedule, and the parameters of GET /predict. Null parameters
    are omitted. Either table may name a partition by a word, such as "sales.d.rows$yesterday", which
    means the day of the schedule in UTC, for retries too. An unchanged table is the same run, so
    nothing is scored again. mlsys cannot detect whether a view's rows changed, so each time is a new
    run: use WRITE_TRUNCATE for a view, or incremental with WRITE_APPEND, which scores only the rows
    above a column's last value ("ids": those that the output lacks).
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
    contract          = optional(string)
    max_rejects       = optional(string)
    max_drift         = optional(string)
    max_bytes         = optional(string)
    max_cost          = optional(string)
    profile           = optional(string)
    engine            = optional(string)
    shadow            = optional(string)
    incremental       = optional(string)
    write_disposition = optional(string, "WRITE_TRUNCATE")
  }))
  default = {}

  validation {
    condition     = alltrue([for name in keys(var.scheduled_predictions) : can(regex("^[a-z0-9]+(-[a-z0-9]+)*$", name))])
    error_message = "A prediction's name is invalid. Pass lower-case words joined by hyphens."
  }

  validation {
    condition = alltrue([
      for p in values(var.scheduled_predictions) : contains(["WRITE_TRUNCATE", "WRITE_APPEND"], p.write_disposition)
    ])
    error_message = "A schedule writes repeatedly, so it cannot use this write_disposition. Pass WRITE_TRUNCATE or WRITE_APPEND."
  }

  validation {
    condition = alltrue(flatten([
      for p in values(var.scheduled_predictions) : [
        for table in [p.input_table, p.output_table] :
        can(regex("^[^$]+([$](today|yesterday|this_hour|last_hour|this_month|last_month|this_year|last_year))?$", table))
      ]
    ]))
    error_message = "A schedule repeats, so it can name a partition only by a word. Pass the table with $today, $yesterday, $this_hour, $last_hour, $this_month, $last_month, $this_year or $last_year, or without a partition."
  }

  validation {
    condition = alltrue([
      for p in values(var.scheduled_predictions) : p.incremental == null || p.write_disposition == "WRITE_APPEND"
    ])
    error_message = "An incremental schedule adds rows to those of its earlier runs. Pass write_disposition = \"WRITE_APPEND\"."
  }
}

variable "time_zone" {
  description = "Time zone of all schedules, as a tz database name."
  type        = string
  default     = "Etc/UTC"
}

variable "trusted_globals" {
  description = "Exact names that models may contain besides scikit-learn's, such as \"churn.features.Ratio\"."
  type        = list(string)
  default     = []
}
