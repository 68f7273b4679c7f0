locals {
  # one_of("mlsys-model-events-dev", ...), of the subscriptions that push and of those with dead letters
  pushing      = "one_of(${join(",", local.push_names)})"
  dead_letters = "one_of(${join(",", local.dead_letter_names)})"

  push_names        = [for s in google_pubsub_subscription.pushed : "\"${s.name}\""]
  dead_letter_names = [for s in google_pubsub_subscription.dead_letter : "\"${s.name}\""]

  oldest_message = "resource.type=\"pubsub_subscription\" AND metric.type=\"pubsub.googleapis.com/subscription/oldest_unacked_message_age\""
  requests_filter = join(" AND ", [
    "resource.type=\"cloud_run_revision\"",
    "resource.labels.service_name=\"${local.name}\"",
    "metric.type=\"run.googleapis.com/request_count\"",
  ])

  # The line that app/logs.py writes after each request.
  request_log_filter = join(" AND ", [
    "resource.type=\"cloud_run_revision\"",
    "resource.labels.service_name=\"${local.name}\"",
    "jsonPayload.logger=\"mlsys.request\"",
  ])

  # A change of a guarded alias that did not come through the service, as workers/registry logs it.
  unguarded_filter = join(" AND ", [
    "(resource.labels.service_name=\"${local.name}\" OR resource.labels.service_name=\"${local.console}\")",
    "jsonPayload.event=\"alias.unguarded\"",
  ])

  # A run that failed for good, in the service or in the job, as workers/scoring logs it. A
  # suspended run is resumed.
  failed_run_filter = join(" AND ", [
    "(resource.labels.service_name=\"${local.name}\" OR resource.labels.job_name=\"${local.job}\")",
    "jsonPayload.event=\"run.failed\"",
  ])

  # Conditions on metrics: Cloud Monitoring bills each, and each time series that it returns
  # (https://cloud.google.com/stackdriver/pricing). So there are few, for what a person acts on, and each
  # has one series, or one for each subscription. What only passes (503) is on the dashboard.
  alerts = {
    # A message in work is at most ten minutes old. An older one waits, fails, or is a dead letter.
    "a message is not handled" = {
      filter    = "${local.oldest_message} AND resource.labels.subscription_id=one_of(${join(",", concat(local.push_names, local.dead_letter_names))})"
      threshold = 3600
      duration  = "300s"
      window    = "60s"
      aligner   = "ALIGN_MAX"
      reducer   = "REDUCE_MAX"
      by        = ["resource.labels.subscription_id"]
      advice    = <<-EOT
        The oldest message of the subscription is older than an hour.
        - In a dead-letter subscription: read it with `gcloud pubsub subscriptions pull SUBSCRIPTION`. Repair an upload with GET /model-registry?env=${var.env}, a run by repeating its request. Then acknowledge the message by pulling it with --auto-ack.
        - In another one: the service's log says why it answers 503 or 500; Pub/Sub redelivers the messages once the cause is fixed. With 429 a run has waited for memory for an hour: give the service more memory.
      EOT
    }
    "the service answers 5xx" = {
      filter    = "${local.requests_filter} AND metric.labels.response_code_class=\"5xx\" AND metric.labels.response_code!=\"503\""
      threshold = 0
      duration  = "0s"
      window    = "300s"
      aligner   = "ALIGN_DELTA"
      reducer   = "REDUCE_SUM"
      by        = []
      advice    = "500 is a bug or an instance that ran out of memory; 504 is a request that timed out. The log has the reason with severity ERROR."
    }
  }

  # Lines of the log after which nothing is tried again. Together they are one condition. Each combination
  # of the labels' values is notified for itself, so one failure does not hide another.
  failures = {
    "a run failed" = {
      filter = local.failed_run_filter
      labels = { run_id = "EXTRACT(jsonPayload.run_id)" }
      advice = "With `run_id`: GET /runs/{run_id}?env=${var.env} says why the run failed. Nothing was published, and the run is not retried automatically."
    }
    # It also comes for a prediction that was refused before a run existed.
    "a schedule failed" = {
      filter = "resource.type=\"cloud_scheduler_job\" AND resource.labels.job_id=~\"^mlsys-.*-${var.env}$\" AND severity>=ERROR"
      labels = { job = "EXTRACT(resource.labels.job_id)" }
      advice = "With `job`: the service's log has the answer that the scheduled job got: 400, 404, 409 and 422 say what to change, 503 that Google Cloud or the service did not answer."
    }
    "an alias was changed past its guard" = {
      filter = local.unguarded_filter
      labels = { alias = "EXTRACT(jsonPayload.alias)" }
      advice = "With `alias`: somebody wrote or deleted the alias's object in the models bucket past the service. It counts. Look at `mlsys alias history`, and move it by the service, whose guard then judges the version; Cloud Storage's audit logs name the account, if they are on."
    }
    "a message was not understood" = {
      filter = "${local.request_log_filter} AND jsonPayload.outcome=\"quarantined\""
      labels = { subscription = "EXTRACT(jsonPayload.subscription)" }
      advice = "With `subscription`: a message was not understood. It is kept below quarantine/ in the runs bucket, with the reason, and will not be delivered again."
    }
  }
}

locals {
  notification_channels = concat(var.notification_channels, [for c in google_monitoring_notification_channel.emails : c.id])
}

resource "google_monitoring_notification_channel" "emails" {
  for_each = var.alert_emails

  project      = var.project
  display_name = "mlsys ${var.env}: ${each.key}"
  type         = "email"
  labels       = { email_address = each.key }
}

resource "google_monitoring_alert_policy" "thresholds" {
  for_each = local.alerts

  project               = var.project
  display_name          = "mlsys ${var.env}: ${each.key}"
  combiner              = "OR"
  notification_channels = local.notification_channels

  conditions {
    display_name = each.key

    condition_threshold {
      filter          = each.value.filter
      comparison      = "COMPARISON_GT"
      threshold_value = each.value.threshold
      duration        = each.value.duration

      aggregations {
        alignment_period     = each.value.window
        per_series_aligner   = each.value.aligner
        cross_series_reducer = each.value.reducer
        group_by_fields      = each.value.by
      }
    }
  }

  documentation {
    content   = each.value.advice
    mime_type = "text/markdown"
  }
}

resource "google_logging_metric" "failed_runs" {
  project     = var.project
  name        = "mlsys-failed-runs-${var.env}"
  description = "Runs that failed for good"
  filter      = local.failed_run_filter

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
  }
}

# On the log, not on a metric: Cloud Monitoring rejects a policy on a metric that was just created until
# the metric has propagated, which would fail the first apply.
resource "google_monitoring_alert_policy" "logged" {
  project               = var.project
  display_name          = "mlsys ${var.env}: work failed for good"
  combiner              = "OR"
  notification_channels = local.notification_channels

  conditions {
    display_name = "a run, a schedule or a message failed for good"

    condition_matched_log {
      filter           = join(" OR ", [for failure in local.failures : "(${failure.filter})"])
      label_extractors = merge([for failure in local.failures : failure.labels]...)
    }
  }

  alert_strategy {
    auto_close = "86400s"

    notification_rate_limit {
      period = "300s"
    }
  }

  documentation {
    content   = join("\n", [for failure in local.failures : "- ${failure.advice}"])
    mime_type = "text/markdown"
  }
}
