# Buckets and tables are as the service expects them, and only the service can use them.
mock_provider "google" {
  source = "./tests/mocks"
}

variables {
  env             = "dev"
  project         = "example-dev"
  image           = "us-central1-docker.pkg.dev/example/mlsys/mlsys@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
  input_datasets  = ["warehouse.sales", "warehouse.scores"]
  output_datasets = ["warehouse.scores"]
  model_writers   = ["group:scientists@example.com"]
}

run "buckets" {
  assert {
    condition     = google_storage_bucket.models.name == "mlsys-models-dev" && google_storage_bucket.runs.name == "mlsys-runs-dev"
    error_message = "The buckets have other names."
  }
  assert {
    condition = alltrue([
      for bucket in [google_storage_bucket.models, google_storage_bucket.runs] :
      bucket.public_access_prevention == "enforced" && bucket.uniform_bucket_level_access && !bucket.force_destroy
    ])
    error_message = "A bucket could be public, or be deleted with its objects."
  }
  assert {
    condition     = google_storage_bucket.models.versioning[0].enabled
    error_message = "Old generations of a model are lost."
  }
  assert {
    condition = (
      length(google_storage_bucket.models.lifecycle_rule) == 1 &&
      one(google_storage_bucket.models.lifecycle_rule[0].condition).days_since_noncurrent_time == 90
    )
    error_message = "A model's old generations are not deleted after 90 days."
  }
  assert {
    condition = (
      length(google_storage_bucket.runs.lifecycle_rule) == 2 &&
      one(google_storage_bucket.runs.lifecycle_rule[0].condition).age == 30 &&
      toset(one(google_storage_bucket.runs.lifecycle_rule[0].condition).matches_suffix) == toset([".parquet"]) &&
      one(google_storage_bucket.runs.lifecycle_rule[0].action).type == "Delete"
    )
    error_message = "Parts and rejects must be deleted after 30 days, and nothing else of a run."
  }
  assert {
    condition = (
      toset(one(google_storage_bucket.runs.lifecycle_rule[1].condition).matches_prefix) == toset(["_running/"]) &&
      length(one(google_storage_bucket.runs.lifecycle_rule[1].condition).matches_suffix) == 0 &&
      one(google_storage_bucket.runs.lifecycle_rule[1].condition).age == 7
    )
    error_message = "Only markers of runs are deleted after a week."
  }
}

run "tables" {
  assert {
    condition     = google_bigquery_dataset.this.dataset_id == "mlsys_dev" && !google_bigquery_dataset.this.delete_contents_on_destroy
    error_message = "The dataset has another name, or could be deleted with its tables."
  }
  assert {
    condition = { for name, t in google_bigquery_table.this : name => "${t.time_partitioning[0].type} ${t.time_partitioning[0].field}, ${join(" ", t.clustering)}" } == {
      model_aliases          = "DAY recorded_at, model_name"
      model_registry         = "DAY registered_at, model_name"
      prediction_evaluations = "DAY evaluated_at, model_name"
      prediction_profiles    = "DAY predicted_at, model_name"
      prediction_runs        = "DAY finished_at, model_name"
    }
    error_message = "A table is partitioned or clustered in another way."
  }
  assert {
    condition = alltrue([
      for name, t in google_bigquery_table.this :
      t.schema == file("../../../lib/mlsys/schemas/${name}.json") && t.dataset_id == "mlsys_dev" && t.deletion_protection
    ])
    error_message = "A schema is not the one in the code, or a table can be deleted."
  }
}

run "the_service_has_its_own_and_the_listed_datasets" {
  assert {
    condition = toset([
      for m in concat(
        [google_bigquery_dataset_iam_member.runtime_edits_own],
        values(google_bigquery_dataset_iam_member.runtime_reads),
        values(google_bigquery_dataset_iam_member.runtime_writes),
      ) : "${m.project}.${m.dataset_id} ${m.role} ${m.member}"
      ]) == toset([
      "example-dev.mlsys_dev roles/bigquery.dataEditor serviceAccount:runtime@example-dev.iam.gserviceaccount.com",
      "warehouse.sales roles/bigquery.dataViewer serviceAccount:runtime@example-dev.iam.gserviceaccount.com",
      "warehouse.scores roles/bigquery.dataEditor serviceAccount:runtime@example-dev.iam.gserviceaccount.com",
    ])
    error_message = "The runtime account has more or less than the listed datasets."
  }
  assert {
    condition = toset([
      for m in [
        google_storage_bucket_iam_member.runtime_reads_models,
        google_storage_bucket_iam_member.runtime_keeps_runs,
        google_storage_bucket_iam_member.runtime_sees_runs,
      ] : "${m.bucket} ${m.role} ${m.member}"
      ]) == toset([
      "mlsys-models-dev roles/storage.objectViewer serviceAccount:runtime@example-dev.iam.gserviceaccount.com",
      "mlsys-runs-dev roles/storage.objectUser serviceAccount:runtime@example-dev.iam.gserviceaccount.com",
      "mlsys-runs-dev roles/storage.legacyBucketReader serviceAccount:runtime@example-dev.iam.gserviceaccount.com",
    ])
    error_message = "The runtime account reads models and keeps runs, and nothing else."
  }
  assert {
    condition     = toset([for m in google_project_iam_member.runtime_bigquery : m.role]) == toset(["roles/bigquery.jobUser", "roles/bigquery.readSessionUser"])
    error_message = "On the project the runtime account starts jobs and read sessions, and nothing else."
  }
  assert {
    condition = (
      google_storage_bucket_iam_member.model_writers["group:scientists@example.com"].bucket == "mlsys-models-dev" &&
      google_bigquery_dataset_iam_member.model_writers["group:scientists@example.com"].role == "roles/bigquery.dataViewer"
    )
    error_message = "Uploaders must write models and read the registry."
  }
}

run "models_are_promoted_by_the_deploy_account_of_the_environment_they_go_to" {
  variables {
    model_readers = ["serviceAccount:mlsys-deploy-staging@example-staging.iam.gserviceaccount.com"]
  }
  assert {
    condition = (
      { for key, m in google_storage_bucket_iam_member.model_readers : m.member => m.role } ==
      { "serviceAccount:mlsys-deploy-staging@example-staging.iam.gserviceaccount.com" = "roles/storage.objectViewer" }
    )
    error_message = "The next environment can do more than read this one's models."
  }
  assert {
    condition     = google_storage_bucket_iam_member.model_writers["deploy"].member == "serviceAccount:mlsys-deploy-dev@example-dev.iam.gserviceaccount.com"
    error_message = "An account other than this environment's own promotes into it."
  }
}

run "another_environments_dataset_is_refused" {
  command = plan

  variables {
    input_datasets  = ["example-prod.mlsys_prod"]
    output_datasets = ["example-prod.mlsys_prod"]
  }

  expect_failures = [var.input_datasets, var.output_datasets]
}

run "deletion_protection_can_be_turned_off" {
  variables {
    deletion_protection = false
  }

  assert {
    condition = (
      google_storage_bucket.models.force_destroy && google_bigquery_dataset.this.delete_contents_on_destroy &&
      !google_cloud_run_v2_service.this.deletion_protection && !google_bigquery_table.this["model_registry"].deletion_protection
    )
    error_message = "terraform destroy would stop halfway."
  }
}
