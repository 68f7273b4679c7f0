# Uploads and scoring requests reach the service with a signed token, and none is lost.
mock_provider "google" {
  source = "./tests/mocks"
}

variables {
  env     = "dev"
  project = "example-dev"
  region  = "europe-west1"
  image   = "europe-west1-docker.pkg.dev/example/mlsys/mlsys@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
}

run "a_change_of_the_models_bucket_is_announced" {
  assert {
    condition     = google_storage_notification.models.bucket == google_storage_bucket.models.name
    error_message = "The notification is on another bucket."
  }
  assert {
    condition     = google_storage_notification.models.topic == google_pubsub_topic.pushed["model-events"].id
    error_message = "The notification goes to another topic."
  }
  assert {
    condition     = toset(google_storage_notification.models.event_types) == toset(["OBJECT_FINALIZE", "OBJECT_DELETE", "OBJECT_ARCHIVE"])
    error_message = "The notification must cover uploads, deletes and overwrites, and nothing else."
  }
  assert {
    condition     = google_storage_notification.models.payload_format == "JSON_API_V1"
    error_message = "The payload is not JSON."
  }
  assert {
    condition = (
      google_pubsub_topic_iam_member.storage_publishes.topic == "mlsys-model-events-dev" &&
      google_pubsub_topic_iam_member.storage_publishes.role == "roles/pubsub.publisher" &&
      google_pubsub_topic_iam_member.storage_publishes.member == "serviceAccount:service-123456789012@gs-project-accounts.iam.gserviceaccount.com"
    )
    error_message = "Cloud Storage's agent may not publish."
  }
}

run "messages_are_pushed_to_their_routes_by_the_push_account" {
  assert {
    condition = { for name, s in google_pubsub_subscription.pushed : s.name => s.push_config[0].push_endpoint } == {
      mlsys-model-events-dev = "https://mlsys-dev-123456789012.europe-west1.run.app/events/storage"
      mlsys-predictions-dev  = "https://mlsys-dev-123456789012.europe-west1.run.app/events/predictions"
    }
    error_message = "A subscription pushes to another address."
  }
  assert {
    condition = alltrue([
      for s in google_pubsub_subscription.pushed :
      s.push_config[0].oidc_token[0].service_account_email == "push@example-dev.iam.gserviceaccount.com" &&
      s.push_config[0].oidc_token[0].audience == "https://mlsys-dev-123456789012.europe-west1.run.app"
    ])
    error_message = "Pushes must be signed as the push account, with the service as audience."
  }
  assert {
    condition = alltrue([
      for name, s in google_pubsub_subscription.pushed :
      s.topic == google_pubsub_topic.pushed[name].id && s.ack_deadline_seconds == 600 &&
      s.retry_policy[0].minimum_backoff == "10s" &&
      s.retry_policy[0].maximum_backoff == { model-events = "600s", predictions = "120s" }[name] &&
      s.expiration_policy[0].ttl == ""
    ])
    error_message = "A subscription must wait 600 s, retry after 10 to 120 or 600 s, and never expire."
  }
  assert {
    condition = (
      google_service_account_iam_member.push_token_creator.role == "roles/iam.serviceAccountTokenCreator" &&
      google_service_account_iam_member.push_token_creator.member == "serviceAccount:service-123456789012@gcp-sa-pubsub.iam.gserviceaccount.com"
    )
    error_message = "Pub/Sub's agent may not sign as the push account."
  }
}

run "undeliverable_messages_are_kept" {
  assert {
    condition = { for name, s in google_pubsub_subscription.pushed : name => s.dead_letter_policy[0].max_delivery_attempts } == {
      model-events = 10
      predictions  = 100
    }
    error_message = "The number of delivery attempts differs from the local stack's."
  }
  assert {
    condition = alltrue([
      for name, s in google_pubsub_subscription.pushed :
      s.dead_letter_policy[0].dead_letter_topic == google_pubsub_topic.dead_letter[name].id &&
      google_pubsub_subscription.dead_letter[name].topic == google_pubsub_topic.dead_letter[name].id &&
      google_pubsub_subscription.dead_letter[name].expiration_policy[0].ttl == "" &&
      google_pubsub_topic.dead_letter[name].name == "${s.name}-dead-letter"
    ])
    error_message = "A dead-letter topic has no subscription that never expires."
  }
  assert {
    condition = alltrue([
      for name, s in google_pubsub_subscription.pushed :
      google_pubsub_topic_iam_member.agent_publishes_dead_letters[name].topic == "${s.name}-dead-letter" &&
      google_pubsub_topic_iam_member.agent_publishes_dead_letters[name].role == "roles/pubsub.publisher" &&
      google_pubsub_topic_iam_member.agent_publishes_dead_letters[name].member == "serviceAccount:service-123456789012@gcp-sa-pubsub.iam.gserviceaccount.com" &&
      google_pubsub_subscription_iam_member.agent_takes_dead_letters[name].subscription == s.name &&
      google_pubsub_subscription_iam_member.agent_takes_dead_letters[name].role == "roles/pubsub.subscriber" &&
      google_pubsub_subscription_iam_member.agent_takes_dead_letters[name].member == "serviceAccount:service-123456789012@gcp-sa-pubsub.iam.gserviceaccount.com"
    ])
    error_message = "Pub/Sub's agent may not move undeliverable messages."
  }
}

run "the_service_publishes_only_to_two_topics" {
  assert {
    condition = toset([for m in google_pubsub_topic_iam_member.runtime_publishes : "${m.topic} ${m.role} ${m.member}"]) == toset([
      "mlsys-predictions-dev roles/pubsub.publisher serviceAccount:runtime@example-dev.iam.gserviceaccount.com",
      "mlsys-events-dev roles/pubsub.publisher serviceAccount:runtime@example-dev.iam.gserviceaccount.com",
    ])
    error_message = "The runtime account's topics are not predictions and events."
  }
}
