locals {
  subscription_filter = "resource.type=\"pubsub_subscription\" AND resource.labels.subscription_id="
  requests_filter = join(" AND ", [
    "resource.type=\"cloud_run_revision\"",
    "resource.labels.service_name=\"${local.name}\"",
    "metric.type=\"run.googleapis.com/request_count\"",
  ])
  old_message_metric = "metric.type=\"pubsub.googleapis.com/subscription/oldest_unacked_message_age\""
  dead_letter_filter = join(" AND ", [
    "resource.type=\"pubsub_subscription\"",
    "resource.labels.subscription_id=one_of(${join(",", [for s in google_pubsub_subscription.dead_letter : "\"${s.name}\""])})",
    "metric.type=\"pubsub.googleapis.com/subscription/num_undelivered_messages\"",
  ])

  # The line that app/logs.py writes after each request.
  request_log_filter = join(" AND ", [
    "resource.type=\"cloud_run_revision\"",
    "resource.labels.service_name=\"${local.name}\"",
    "jsonPayload.logger=\"mlsys.request\"",
  ])

  # A run that failed for good, as workers/scoring/run.py logs it. A suspended run is resumed.
  failed_run_filter = join(" AND ", [
    "resource.type=\"cloud_run_revision\"",
    "resource.labels.service_name=\"${local.name}\"",
    "jsonPayload.event=\"run.failed\"",
  ])

  alerts = merge(
    {
      for topic, pushed in local.pushed : "${topic} are not handled" => {
        filter    = "${local.subscription_filter}\"mlsys-${topic}-${var.env}\" AND ${local.old_message_metric}"
        threshold = pushed.old_seconds
        duration  = "300s"
        window    = "60s"
        aligner   = "ALIGN_MAX"
        reducer   = "REDUCE_MAX"
        advice    = "The oldest message of mlsys-${topic}-${var.env} is older than ${pushed.old_seconds} s: the service's log says why it answers 503 or 500. Pub/Sub redelivers the messages once the cause is fixed."
      }
    },
    {
      "a message is in a dead-letter subscription" = {
        filter    = local.dead_letter_filter
        threshold = 0
        duration  = "0s"
        window    = "60s"
        aligner   = "ALIGN_MAX"
        reducer   = "REDUCE_MAX"
        advice    = "Read it with `gcloud pubsub subscriptions pull SUBSCRIPTION`. Repair an upload with GET /model-registry?env=${var.env}, a run by repeating its request. Then acknowledge the message by pulling it with --auto-ack."
      }
      "the service answers 5xx" = {
        filter    = "${local.requests_filter} AND metric.labels.response_code_class=\"5xx\" AND metric.labels.response_code!=\"503\""
        threshold = 0
        duration  = "0s"
        window    = "300s"
        aligner   = "ALIGN_DELTA"
        reducer   = "REDUCE_SUM"
        advice    = "500 is a bug or an instance that ran out of memory; 504 is a request that timed out. The log has the reason with severity ERROR."
      }
      # A suspended run of a caller who waits answers 503 and is resumed, so a few are not a fault.
      "the service keeps answering 503" = {
        filter    = "${local.requests_filter} AND metric.labels.response_code=\"503\""
        threshold = 20
        duration  = "0s"
        window    = "600s"
        aligner   = "ALIGN_DELTA"
        reducer   = "REDUCE_SUM"
        advice    = "Google Cloud does not answer the service, or instances fail to start. The log has the reason with severity WARNING."
      }
    },
  )
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

locals {
  log_alerts = {
    "a run failed" = {
      filter = local.failed_run_filter
      labels = { run_id = "EXTRACT(jsonPayload.run_id)" }
      advice = "GET /runs/{run_id}?env=${var.env} says why. Nothing was published, and the run is not retried automatically."
    }
    # It also comes for a prediction that was refused before a run existed.
    "a schedule failed" = {
      filter = "resource.type=\"cloud_scheduler_job\" AND resource.labels.job_id=~\"^mlsys-.*-${var.env}$\" AND severity>=ERROR"
      labels = { job = "EXTRACT(resource.labels.job_id)" }
      advice = "The service's log has the answer that the job got: 400, 404, 409 and 422 say what to change."
    }
    "a message was not understood" = {
      filter = "${local.request_log_filter} AND jsonPayload.outcome=\"quarantined\""
      labels = { subscription = "EXTRACT(jsonPayload.subscription)" }
      advice = "It is kept below quarantine/ in the runs bucket, with the reason, and will not be delivered again."
    }
  }
}

# On the log, not on a metric: Cloud Monitoring rejects a policy on a metric that was just created until
# the metric has propagated, which would fail the first apply.
resource "google_monitoring_alert_policy" "logged" {
  for_each = local.log_alerts

  project               = var.project
  display_name          = "mlsys ${var.env}: ${each.key}"
  combiner              = "OR"
  notification_channels = local.notification_channels

  conditions {
    display_name = each.key

    condition_matched_log {
      filter           = each.value.filter
      label_extractors = each.value.labels
    }
  }

  alert_strategy {
    auto_close = "86400s"

    notification_rate_limit {
      period = "300s"
    }
  }

  documentation {
    content   = each.value.advice
    mime_type = "text/markdown"
  }
}
