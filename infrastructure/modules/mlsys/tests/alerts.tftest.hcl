# A person hears of what a person has to act on, by few conditions: each one is billed.
mock_provider "google" {
  source = "./tests/mocks"
}

variables {
  env     = "dev"
  project = "example-dev"
  image   = "europe-west1-docker.pkg.dev/example/mlsys/mlsys@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
}

run "three_conditions_are_enough" {
  assert {
    condition = (
      length(google_monitoring_alert_policy.thresholds) == 2 &&
      alltrue([for p in google_monitoring_alert_policy.thresholds : length(p.conditions) == 1]) &&
      length(google_monitoring_alert_policy.logged.conditions) == 1
    )
    error_message = "There are more conditions than three."
  }
  assert {
    condition = alltrue([
      for p in google_monitoring_alert_policy.thresholds :
      p.conditions[0].condition_threshold[0].aggregations[0].cross_series_reducer != null &&
      length(p.conditions[0].condition_threshold[0].aggregations[0].group_by_fields) <= 1
    ])
    error_message = "A condition returns more time series than one, or one for each subscription."
  }
}

run "every_subscription_is_watched_and_named" {
  assert {
    condition = alltrue([
      for s in concat(values(google_pubsub_subscription.pushed), values(google_pubsub_subscription.dead_letter)) :
      strcontains(google_monitoring_alert_policy.thresholds["a message is not handled"].conditions[0].condition_threshold[0].filter, "\"${s.name}\"")
    ])
    error_message = "A message of a subscription could wait, or lie in the dead letters, without an alert."
  }
  assert {
    condition = (
      google_monitoring_alert_policy.thresholds["a message is not handled"].conditions[0].condition_threshold[0].threshold_value == 3600 &&
      google_monitoring_alert_policy.thresholds["a message is not handled"].conditions[0].condition_threshold[0].aggregations[0].group_by_fields == tolist(["resource.labels.subscription_id"])
    )
    error_message = "The alert does not come after an hour, or does not name the subscription."
  }
}

run "each_failure_for_good_is_reported_with_its_advice" {
  assert {
    condition = alltrue([
      for name, failure in local.failures :
      strcontains(google_monitoring_alert_policy.logged.conditions[0].condition_matched_log[0].filter, "(${failure.filter})") &&
      strcontains(google_monitoring_alert_policy.logged.documentation[0].content, failure.advice)
    ])
    error_message = "A failure raises no alert, or its advice is missing."
  }
  assert {
    condition     = toset(keys(google_monitoring_alert_policy.logged.conditions[0].condition_matched_log[0].label_extractors)) == toset(["alias", "run_id", "job", "subscription"])
    error_message = "Two failures would be one notification: each combination of the labels' values is notified for itself."
  }
  assert {
    condition     = strcontains(local.failed_run_filter, "service_name=\"mlsys-dev\"") && strcontains(local.failed_run_filter, "job_name=\"mlsys-score-dev\"")
    error_message = "A run that fails in the job, or in the service, raises no alert."
  }
}

run "alerts_go_to_the_addresses" {
  variables {
    alert_emails = ["on-call@example.com"]
  }

  assert {
    condition = (
      google_monitoring_notification_channel.emails["on-call@example.com"].type == "email" &&
      google_monitoring_notification_channel.emails["on-call@example.com"].labels == tomap({ email_address = "on-call@example.com" })
    )
    error_message = "The address gets no channel."
  }
  assert {
    condition = alltrue([
      for p in concat(values(google_monitoring_alert_policy.thresholds), [google_monitoring_alert_policy.logged]) :
      p.notification_channels == tolist([google_monitoring_notification_channel.emails["on-call@example.com"].id])
    ])
    error_message = "An alert is not sent to the address."
  }
}

run "an_address_of_another_form_is_refused" {
  command = plan

  variables {
    alert_emails = ["on-call"]
  }

  expect_failures = [var.alert_emails]
}
