# The console has an account of its own, and only the named people reach it.
mock_provider "google" {
  source = "./tests/mocks"
}

variables {
  env             = "dev"
  project         = "example-dev"
  region          = "europe-west1"
  image           = "europe-west1-docker.pkg.dev/example/mlsys/mlsys@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
  console_users   = ["group:analysts@example.com"]
  input_datasets  = ["warehouse.sales"]
  output_datasets = ["warehouse.scores"]
}

run "the_console_is_behind_the_proxy" {
  assert {
    condition = (
      google_cloud_run_v2_service.console.name == "mlsys-web-dev" &&
      google_cloud_run_v2_service.console.template[0].service_account == "console@example-dev.iam.gserviceaccount.com" &&
      google_cloud_run_v2_service.console.template[0].containers[0].image == google_cloud_run_v2_service.this.template[0].containers[0].image &&
      !google_cloud_run_v2_service.console.invoker_iam_disabled
    )
    error_message = "Name, account or image differ, or everybody may call it."
  }
  assert {
    condition = { for e in google_cloud_run_v2_service.console.template[0].containers[0].env : e.name => e.value if !contains(["MLSYS_ROLE", "MLSYS_IAP_AUDIENCE", "MLSYS_REQUEST_TIMEOUT"], e.name) } == {
      for e in google_cloud_run_v2_service.this.template[0].containers[0].env : e.name => e.value if !contains(["MLSYS_ROLE", "MLSYS_REQUEST_TIMEOUT"], e.name)
    }
    error_message = "The console looks at another environment than the service."
  }
  assert {
    condition = { for e in google_cloud_run_v2_service.console.template[0].containers[0].env : e.name => e.value if contains(["MLSYS_ROLE", "MLSYS_IAP_AUDIENCE"], e.name) } == {
      MLSYS_ROLE         = "web"
      MLSYS_IAP_AUDIENCE = "/projects/123456789012/locations/europe-west1/services/mlsys-web-dev" # pragma: allowlist secret
    }
    error_message = "The console has another role, or another audience."
  }
  assert {
    condition     = { for m in google_cloud_run_v2_service_iam_member.console_invokers : m.member => m.role } == { "serviceAccount:service-123456789012@gcp-sa-iap.iam.gserviceaccount.com" = "roles/run.invoker" }
    error_message = "Others than the proxy may call the console."
  }
  assert {
    condition     = { for m in google_iap_web_cloud_run_service_iam_member.console_users : m.member => m.role } == { "group:analysts@example.com" = "roles/iap.httpsResourceAccessor" }
    error_message = "Others than the named people pass the proxy."
  }
  assert {
    condition     = output.console_url == "https://mlsys-web-dev-123456789012.europe-west1.run.app"
    error_message = "The address differs."
  }
}

run "without_the_proxy_the_people_call_it" {
  variables {
    console_iap = false
  }
  assert {
    condition     = { for m in google_cloud_run_v2_service_iam_member.console_invokers : m.member => m.role } == { "group:analysts@example.com" = "roles/run.invoker" }
    error_message = "Others than the named people may call the console."
  }
  assert {
    condition = (
      length(google_iap_web_cloud_run_service_iam_member.console_users) == 0 &&
      !contains([for e in google_cloud_run_v2_service.console.template[0].containers[0].env : e.name], "MLSYS_IAP_AUDIENCE")
    )
    error_message = "The console expects a proxy that is not there."
  }
}

run "the_console_reads_and_writes_only_what_its_actions_leave" {
  assert {
    condition = toset([
      for m in concat([google_bigquery_dataset_iam_member.console_reads_own], values(google_bigquery_dataset_iam_member.console_reads)) :
      "${m.project}.${m.dataset_id} ${m.role} ${m.member}"
      ]) == toset([
      "example-dev.mlsys_dev roles/bigquery.dataViewer serviceAccount:console@example-dev.iam.gserviceaccount.com",
      "warehouse.sales roles/bigquery.dataViewer serviceAccount:console@example-dev.iam.gserviceaccount.com",
      "warehouse.scores roles/bigquery.dataViewer serviceAccount:console@example-dev.iam.gserviceaccount.com",
    ])
    error_message = "The console reads other datasets, or writes one."
  }
  assert {
    condition     = { for m in google_bigquery_table_iam_member.console_records : m.table_id => m.role } == { model_aliases = "roles/bigquery.dataEditor", prediction_runs = "roles/bigquery.dataEditor" }
    error_message = "The console writes other tables than the log of aliases and the ledger."
  }
  assert {
    condition = toset([
      for m in concat(
        values(google_storage_bucket_iam_member.console_reads),
        [google_storage_bucket_iam_member.console_moves_aliases, google_storage_bucket_iam_member.console_records, google_storage_bucket_iam_member.console_replays],
      ) : "${m.bucket} ${m.role} ${length(m.condition)}"
      ]) == toset([
      "mlsys-models-dev roles/storage.objectViewer 0",
      "mlsys-runs-dev roles/storage.objectViewer 0",
      "mlsys-models-dev roles/storage.objectUser 1",
      "mlsys-runs-dev roles/storage.objectCreator 1",
      "mlsys-runs-dev roles/storage.objectUser 1",
    ])
    error_message = "The console writes objects without a condition."
  }
  assert {
    condition     = toset([for m in google_project_iam_member.console : m.role]) == toset(["roles/bigquery.jobUser", "roles/bigquery.readSessionUser", "roles/run.viewer"])
    error_message = "On the project the console queries and looks, and nothing else."
  }
  assert {
    condition     = toset([for m in google_pubsub_topic_iam_member.console_publishes : m.topic]) == toset(["mlsys-predictions-dev", "mlsys-model-events-dev", "mlsys-events-dev"])
    error_message = "The console publishes to other topics."
  }
}

run "the_deploy_account_rolls_it_out" {
  assert {
    condition = (
      google_cloud_run_v2_service_iam_member.console_deploy.role == "roles/run.developer" &&
      google_cloud_run_v2_service_iam_member.console_deploy.member == "serviceAccount:mlsys-deploy-dev@example-dev.iam.gserviceaccount.com" &&
      google_service_account_iam_member.deploy_acts_as_console.member == "serviceAccount:mlsys-deploy-dev@example-dev.iam.gserviceaccount.com"
    )
    error_message = "The deploy account cannot roll out the console."
  }
}

run "a_public_console_is_refused" {
  command = plan

  variables {
    console_users = ["allUsers"]
  }

  expect_failures = [var.console_users]
}
