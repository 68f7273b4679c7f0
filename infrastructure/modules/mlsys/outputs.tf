output "announcements_topic" {
  description = "Subscribe to this topic to be notified of registered models and finished runs."
  value       = google_pubsub_topic.announcements.id
}

output "console_url" {
  description = "The console's URL: open /ui/ in a browser."
  value       = "https://${local.console}-${local.number}.${var.region}.run.app"

  depends_on = [google_cloud_run_v2_service.console]
}

output "dataset" {
  description = "The dataset of the registry and the ledger of runs."
  value       = local.own_dataset
}

output "dead_letter_subscriptions" {
  description = "The subscriptions to read when the dead-letter alert fires."
  value       = [for subscription in google_pubsub_subscription.dead_letter : subscription.name]
}

output "models_bucket" {
  description = "The bucket that models are uploaded to, as {model-name}/v{N}/model.pkl."
  value       = google_storage_bucket.models.name
}

output "runs_bucket" {
  description = "The bucket of runs: plans and results stay, parts are deleted after 30 days; also quarantined messages."
  value       = google_storage_bucket.runs.name
}

output "service_url" {
  description = "The service's URL: MLSYS_URL."
  value       = local.service_url

  # Until the service exists, nothing answers at this URL.
  depends_on = [google_cloud_run_v2_service.this]
}
