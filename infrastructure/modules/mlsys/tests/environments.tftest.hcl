# Every name contains its environment, so environments can share a project without a collision.
mock_provider "google" {
  source = "./tests/mocks"
}

variables {
  env           = "prod"
  project       = "example-shared"
  bucket_prefix = "example-"
  image         = "us-central1-docker.pkg.dev/example/mlsys/mlsys@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
  scheduled_predictions = {
    churn-daily = {
      schedule     = "0 5 * * *"
      input_table  = "warehouse.sales.customers"
      output_table = "warehouse.scores.churn"
      model_name   = "churn"
      where        = "age > 30 AND country = 'DE'"
    }
    sales-nightly = {
      schedule     = "0 2 * * *"
      input_table  = "warehouse.sales.rows$yesterday"
      output_table = "warehouse.scores.sales$yesterday"
      model_name   = "sales"
    }
  }
}

run "every_name_contains_prod" {
  assert {
    condition = alltrue([
      for name in concat(
        [google_storage_bucket.models.name, google_storage_bucket.runs.name, google_bigquery_dataset.this.dataset_id],
        [google_cloud_run_v2_service.console.name, google_service_account.console.account_id],
        [google_cloud_run_v2_service.this.name, google_pubsub_topic.announcements.name, google_logging_metric.failed_runs.name],
        [google_service_account.runtime.account_id, google_service_account.push.account_id, google_service_account.scheduler.account_id],
        [google_cloud_scheduler_job.rescan.name, local.deploy_member],
        [for t in google_pubsub_topic.pushed : t.name],
        [for t in google_pubsub_topic.dead_letter : t.name],
        [for s in google_pubsub_subscription.pushed : s.name],
        [for s in google_pubsub_subscription.dead_letter : s.name],
        [for j in google_cloud_scheduler_job.predictions : j.name],
        [for p in google_monitoring_alert_policy.thresholds : p.display_name],
        [google_monitoring_alert_policy.logged.display_name],
        [google_monitoring_alert_policy.logged.conditions[0].condition_matched_log[0].filter],
        [for p in google_monitoring_alert_policy.thresholds : p.conditions[0].condition_threshold[0].filter],
        [google_logging_metric.failed_runs.filter, google_monitoring_dashboard.this.dashboard_json],
      ) : strcontains(name, "prod") && !can(regex("mlsys[-_a-z]*(dev|staging)", name))
    ])
    error_message = "A resource of prod lacks its name, or has another environment's."
  }
  assert {
    condition     = google_storage_bucket.models.name == "example-mlsys-models-prod"
    error_message = "A bucket name lacks the prefix."
  }
  assert {
    condition     = toset([for e in google_cloud_run_v2_service.this.template[0].containers[0].env : e.name if startswith(e.name, "GCS_")]) == toset(["GCS_BUCKET_MODELS_PROD", "GCS_BUCKET_RUNS_PROD"])
    error_message = "The service's bucket settings are not prod's."
  }
}

run "schedules_call_as_the_scheduler" {
  assert {
    condition = (
      google_cloud_scheduler_job.rescan.http_target[0].uri == "https://mlsys-prod-123456789012.us-central1.run.app/model-registry?env=prod" &&
      google_cloud_scheduler_job.rescan.http_target[0].http_method == "GET"
    )
    error_message = "The rescan calls another address."
  }
  assert {
    condition     = google_cloud_scheduler_job.predictions["churn-daily"].http_target[0].uri == "https://mlsys-prod-123456789012.us-central1.run.app/predict?env=prod&input_table=warehouse.sales.customers&model_name=churn&model_version=latest&output_table=warehouse.scores.churn&wait=false&where=age+%3E+30+AND+country+%3D+%27DE%27&write_disposition=WRITE_TRUNCATE"
    error_message = "The scheduled prediction sends other parameters."
  }
  assert {
    condition     = strcontains(google_cloud_scheduler_job.predictions["sales-nightly"].http_target[0].uri, "input_table=warehouse.sales.rows%24yesterday&")
    error_message = "The scheduled prediction names another partition."
  }
  assert {
    condition = alltrue([
      for job in concat([google_cloud_scheduler_job.rescan], values(google_cloud_scheduler_job.predictions)) :
      job.http_target[0].oidc_token[0].service_account_email == "scheduler@example-dev.iam.gserviceaccount.com" &&
      job.http_target[0].oidc_token[0].audience == "https://mlsys-prod-123456789012.us-central1.run.app" &&
      tonumber(trimsuffix(job.attempt_deadline, "s")) <= 1800
    ])
    error_message = "A job calls as another account, or waits longer than 30 minutes."
  }
}

run "an_incremental_schedule_must_append" {
  command = plan

  variables {
    scheduled_predictions = {
      new-rows = {
        schedule     = "0 5 * * *"
        input_table  = "a.b.c"
        output_table = "a.b.d"
        model_name   = "churn"
        incremental  = "updated_at"
      }
    }
  }

  expect_failures = [var.scheduled_predictions]
}

run "a_schedule_with_write_empty_is_refused" {
  command = plan

  variables {
    scheduled_predictions = {
      once = {
        schedule          = "0 5 * * *"
        input_table       = "a.b.c"
        output_table      = "a.b.d"
        model_name        = "churn"
        write_disposition = "WRITE_EMPTY"
      }
    }
  }

  expect_failures = [var.scheduled_predictions]
}

run "a_schedule_of_one_day_is_refused" {
  command = plan

  variables {
    scheduled_predictions = {
      once = {
        schedule     = "0 5 * * *"
        input_table  = "a.b.c$20261122"
        output_table = "a.b.d"
        model_name   = "churn"
      }
    }
  }

  expect_failures = [var.scheduled_predictions]
}
