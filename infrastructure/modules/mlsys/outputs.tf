output "announcements_topic" {
  description = "Subscribe here to hear of registered models and finished runs."
  value       = google_pubsub_topic.announcements.id
}

output "dataset" {
  description = "Where the registry and the ledger of runs are."
  value       = local.own_dataset
}

output "dead_letter_subscriptions" {
  description = "Look here when the dead-letter alert comes."
  value       = [for subscription in google_pubsub_subscription.dead_letter : subscription.name]
}

output "models_bucket" {
  description = "Where models are uploaded to, {model-name}/v{N}/model.pkl."
  value       = google_storage_bucket.models.name
}

output "runs_bucket" {
  description = "Where plans, parts and quarantined messages are, for 30 days."
  value       = google_storage_bucket.runs.name
}

output "service_url" {
  description = "The service's address: MLSYS_URL."
  value       = local.service_url

  # An address that nothing answers at yet is of no use.
  depends_on = [google_cloud_run_v2_service.this]
}
