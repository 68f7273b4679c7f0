locals {
  # Keyed by the middle of the topic's name. A long run publishes its message again every nine minutes
  # and acknowledges the old one, so only what fails or waits for memory is redelivered. A wait ends when
  # another run does: the longer the backoff, the longer the memory lies idle. With 100 attempts, the most
  # that Pub/Sub allows, 120 s survive three hours without Google Cloud: docs/decisions/0086.
  pushed = {
    model-events = { route = "/events/storage", attempts = 10, maximum_backoff = 600 }
    predictions  = { route = "/events/predictions", attempts = 100, maximum_backoff = 120 }
  }
}

resource "google_pubsub_topic" "pushed" {
  for_each = local.pushed

  project = var.project
  name    = "mlsys-${each.key}-${var.env}"
}

resource "google_pubsub_topic" "dead_letter" {
  for_each = local.pushed

  project = var.project
  name    = "mlsys-${each.key}-${var.env}-dead-letter"
}

# The topic on which mlsys announces registered models and finished runs.
resource "google_pubsub_topic" "announcements" {
  project = var.project
  name    = "mlsys-events-${var.env}"
}

resource "google_pubsub_subscription" "pushed" {
  for_each = local.pushed

  project = var.project
  name    = google_pubsub_topic.pushed[each.key].name
  topic   = google_pubsub_topic.pushed[each.key].id

  # The longest ack deadline that Pub/Sub allows.
  ack_deadline_seconds = 600

  push_config {
    push_endpoint = "${local.service_url}${each.value.route}"

    oidc_token {
      service_account_email = google_service_account.push.email
      audience              = local.service_url
    }
  }

  retry_policy {
    minimum_backoff = "10s"
    maximum_backoff = "${each.value.maximum_backoff}s"
  }

  dead_letter_policy {
    dead_letter_topic     = google_pubsub_topic.dead_letter[each.key].id
    max_delivery_attempts = each.value.attempts
  }

  # Never expires: a month without an upload must not delete the subscription.
  expiration_policy {
    ttl = ""
  }

  # Pushes sent before these roles are granted would count as delivery attempts.
  depends_on = [
    google_cloud_run_v2_service_iam_member.invokers,
    google_service_account_iam_member.push_token_creator,
  ]
}

# A topic without a subscription loses its messages.
resource "google_pubsub_subscription" "dead_letter" {
  for_each = local.pushed

  project                    = var.project
  name                       = google_pubsub_topic.dead_letter[each.key].name
  topic                      = google_pubsub_topic.dead_letter[each.key].id
  message_retention_duration = "2678400s" # 31 days, the maximum

  expiration_policy {
    ttl = ""
  }
}

resource "google_pubsub_topic_iam_member" "storage_publishes" {
  project = var.project
  topic   = google_pubsub_topic.pushed["model-events"].name
  role    = "roles/pubsub.publisher"
  member  = "serviceAccount:${data.google_storage_project_service_account.this.email_address}"
}

# The service publishes runs with wait=false to itself, and announcements.
resource "google_pubsub_topic_iam_member" "runtime_publishes" {
  for_each = {
    predictions = google_pubsub_topic.pushed["predictions"].name
    events      = google_pubsub_topic.announcements.name
  }

  project = var.project
  topic   = each.value
  role    = "roles/pubsub.publisher"
  member  = google_service_account.runtime.member
}

# Pub/Sub's own agent moves undeliverable messages: it subscribes to one and publishes to the other.
resource "google_pubsub_topic_iam_member" "agent_publishes_dead_letters" {
  for_each = local.pushed

  project = var.project
  topic   = google_pubsub_topic.dead_letter[each.key].name
  role    = "roles/pubsub.publisher"
  member  = local.pubsub_agent
}

resource "google_pubsub_subscription_iam_member" "agent_takes_dead_letters" {
  for_each = local.pushed

  project      = var.project
  subscription = google_pubsub_subscription.pushed[each.key].name
  role         = "roles/pubsub.subscriber"
  member       = local.pubsub_agent
}
