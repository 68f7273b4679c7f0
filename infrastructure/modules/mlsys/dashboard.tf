locals {
  charts = {
    "Requests, by answer" = {
      filter = local.requests_filter, aligner = "ALIGN_RATE", reducer = "REDUCE_SUM", by = ["metric.labels.response_code"]
    }
    "Oldest message, in seconds" = {
      filter  = "${local.oldest_message} AND resource.labels.subscription_id=${local.pushing}"
      aligner = "ALIGN_MAX", reducer = "REDUCE_MAX", by = ["resource.labels.subscription_id"]
    }
    "Messages in dead-letter subscriptions" = {
      filter  = "resource.type=\"pubsub_subscription\" AND resource.labels.subscription_id=${local.dead_letters} AND metric.type=\"pubsub.googleapis.com/subscription/num_undelivered_messages\""
      aligner = "ALIGN_MAX", reducer = "REDUCE_SUM", by = ["resource.labels.subscription_id"]
    }
    "Failed runs" = {
      filter  = "metric.type=\"logging.googleapis.com/user/${google_logging_metric.failed_runs.name}\""
      aligner = "ALIGN_DELTA", reducer = "REDUCE_SUM", by = []
    }
    "Memory of instances, as a share" = {
      filter  = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"${local.name}\" AND metric.type=\"run.googleapis.com/container/memory/utilizations\""
      aligner = "ALIGN_PERCENTILE_99", reducer = "REDUCE_MAX", by = ["resource.labels.revision_name"]
    }
  }
}

resource "google_monitoring_dashboard" "this" {
  project = var.project

  dashboard_json = jsonencode({
    displayName = "mlsys ${var.env}"
    gridLayout = {
      columns = "2"
      widgets = [
        for title, chart in local.charts : {
          title = title
          xyChart = {
            dataSets = [{
              plotType = "LINE"
              timeSeriesQuery = {
                timeSeriesFilter = {
                  filter = chart.filter
                  # The API omits an empty list, which would show as a difference in every plan.
                  aggregation = merge({
                    alignmentPeriod    = "60s"
                    perSeriesAligner   = chart.aligner
                    crossSeriesReducer = chart.reducer
                  }, length(chart.by) > 0 ? { groupByFields = chart.by } : {})
                }
              }
            }]
          }
        }
      ]
    }
  })
}
