# The service has its settings and resources, and only named members can call it.
mock_provider "google" {
  source = "./tests/mocks"
}

variables {
  env             = "dev"
  project         = "example-dev"
  region          = "europe-west1"
  image           = "europe-west1-docker.pkg.dev/example/mlsys/mlsys@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
  invokers        = ["group:analysts@example.com"]
  output_datasets = ["warehouse.scores"]
  trusted_globals = ["churn.features.Ratio", "churn.features.to_ratio"]
}

run "the_service_has_its_settings" {
  assert {
    condition = { for e in google_cloud_run_v2_service.this.template[0].containers[0].env : e.name => e.value } == {
      GCP_PROJECT_ID             = "example-dev"
      GCP_REGION                 = "europe-west1"
      GCS_BUCKET_MODELS_DEV      = "mlsys-models-dev"
      GCS_BUCKET_RUNS_DEV        = "mlsys-runs-dev"
      MLSYS_ENVS                 = "dev"
      MLSYS_JOB                  = "mlsys-score-dev"
      MLSYS_JOB_CPUS             = "2"
      MLSYS_JOB_TASKS            = "4"
      MLSYS_INPUT_DATASETS       = "example-dev.mlsys_dev,warehouse.scores"
      MLSYS_MODELS               = "listed"
      MLSYS_OUTPUT_DATASETS      = "example-dev.mlsys_dev,warehouse.scores"
      MLSYS_PUSH_AUDIENCE        = "https://mlsys-dev-123456789012.europe-west1.run.app"
      MLSYS_PUSH_AUTH            = "platform"
      MLSYS_PUSH_SERVICE_ACCOUNT = "push@example-dev.iam.gserviceaccount.com"
      MLSYS_REQUEST_TIMEOUT      = "3600"
      MLSYS_ROLE                 = "api"
      MLSYS_TRUSTED_GLOBALS      = "churn.features.Ratio,churn.features.to_ratio"
    }
    error_message = "The service's environment variables differ."
  }
  assert {
    condition     = output.service_url == "https://mlsys-dev-123456789012.europe-west1.run.app"
    error_message = "The URL is not the audience of the push tokens."
  }
}

run "guards_of_aliases_are_of_the_environment" {
  command = plan
  variables {
    alias_guards = { champion = { movers = ["ada@example.com"], metrics = { auc = { worse_by = 0.01 } } } }
  }
  assert {
    condition = jsondecode(one([
      for e in google_cloud_run_v2_service.this.template[0].containers[0].env : e.value if e.name == "MLSYS_ALIAS_GUARDS"
    ])).dev.champion.metrics.auc.worse_by == 0.01
    error_message = "The service does not get the guards of its environment."
  }
}

run "a_guard_of_no_alias_is_refused" {
  command = plan
  variables {
    alias_guards = { latest = {} }
  }
  expect_failures = [var.alias_guards]
}

run "the_service_has_its_resources_and_limits" {
  assert {
    condition = (
      google_cloud_run_v2_service.this.name == "mlsys-dev" &&
      google_cloud_run_v2_service.this.template[0].service_account == "runtime@example-dev.iam.gserviceaccount.com" &&
      google_cloud_run_v2_service.this.template[0].timeout == "3600s" &&
      google_cloud_run_v2_service.this.template[0].max_instance_request_concurrency == 8 &&
      google_cloud_run_v2_service.this.template[0].scaling[0].max_instance_count == 5
    )
    error_message = "Name, account, timeout, concurrency or instances differ."
  }
  assert {
    condition = (
      google_cloud_run_v2_service.this.template[0].execution_environment == "EXECUTION_ENVIRONMENT_GEN2" &&
      google_cloud_run_v2_service.this.template[0].containers[0].startup_probe[0].http_get[0].path == "/health" &&
      google_cloud_run_v2_service.this.template[0].containers[0].startup_probe[0].period_seconds == 1 &&
      google_cloud_run_v2_service.this.template[0].containers[0].resources[0].startup_cpu_boost &&
      google_cloud_run_v2_service.this.template[0].containers[0].resources[0].cpu_idle &&
      google_cloud_run_v2_service.this.template[0].containers[0].resources[0].limits == tomap({ cpu = "2", memory = "2Gi" })
    )
    error_message = "The probe or the resources differ."
  }
}

run "an_instance_may_be_a_runs_own" {
  command = plan
  variables {
    concurrency = 1
  }
  assert {
    condition     = google_cloud_run_v2_service.this.template[0].max_instance_request_concurrency == 1
    error_message = "Runs share an instance."
  }
}

run "more_requests_than_threads_are_refused" {
  command = plan
  variables {
    concurrency = 9
  }
  expect_failures = [var.concurrency]
}

run "the_job_has_the_services_settings_and_its_own_resources" {
  variables {
    job_cpu     = 4
    job_memory  = "8Gi"
    job_tasks   = 100
    job_timeout = 3600
  }
  assert {
    condition = (
      google_cloud_run_v2_job.score.name == "mlsys-score-dev" &&
      google_cloud_run_v2_job.score.template[0].template[0].service_account == "runtime@example-dev.iam.gserviceaccount.com" &&
      google_cloud_run_v2_job.score.template[0].template[0].timeout == "3600s" &&
      google_cloud_run_v2_job.score.template[0].template[0].max_retries == 3 &&
      google_cloud_run_v2_job.score.template[0].template[0].containers[0].resources[0].limits == tomap({ cpu = "4", memory = "8Gi" }) &&
      { for e in google_cloud_run_v2_job.score.template[0].template[0].containers[0].env : e.name => e.value } == { for e in google_cloud_run_v2_service.this.template[0].containers[0].env : e.name => e.value }
    )
    error_message = "Name, account, timeout, retries, resources or settings of the job differ."
  }
  assert {
    condition = (
      { for e in google_cloud_run_v2_service.this.template[0].containers[0].env : e.name => e.value }["MLSYS_JOB_TASKS"] == "100" &&
      { for e in google_cloud_run_v2_service.this.template[0].containers[0].env : e.name => e.value }["MLSYS_JOB_CPUS"] == "4"
    )
    error_message = "The service does not know the job's size."
  }
  assert {
    condition = (
      google_cloud_run_v2_job_iam_member.runtime_runs.name == "mlsys-score-dev" &&
      google_cloud_run_v2_job_iam_member.runtime_runs.role == "roles/run.jobsExecutorWithOverrides" &&
      google_cloud_run_v2_job_iam_member.runtime_runs.member == google_service_account.runtime.member
    )
    error_message = "The runtime account cannot run the job, or may do more than that."
  }
}

run "too_many_tasks_are_refused" {
  command = plan
  variables {
    job_tasks = 10001
  }
  expect_failures = [var.job_tasks]
}

run "only_named_members_may_call" {
  assert {
    condition = { for key, m in google_cloud_run_v2_service_iam_member.invokers : key => m.member } == {
      push                         = "serviceAccount:push@example-dev.iam.gserviceaccount.com"
      scheduler                    = "serviceAccount:scheduler@example-dev.iam.gserviceaccount.com"
      deploy                       = "serviceAccount:mlsys-deploy-dev@example-dev.iam.gserviceaccount.com"
      "group:analysts@example.com" = "group:analysts@example.com"
    }
    error_message = "Other members may call the service."
  }
  assert {
    condition     = !google_cloud_run_v2_service.this.invoker_iam_disabled
    error_message = "Cloud Run must authenticate callers: the service trusts it to."
  }
  assert {
    condition = (
      google_cloud_run_v2_service_iam_member.deploy.role == "roles/run.developer" &&
      google_project_iam_member.deploy_views.role == "roles/run.viewer" &&
      google_service_account_iam_member.deploy_acts_as_runtime.role == "roles/iam.serviceAccountUser" &&
      google_service_account_iam_member.deploy_acts_as_runtime.member == "serviceAccount:mlsys-deploy-dev@example-dev.iam.gserviceaccount.com"
    )
    error_message = "The deploy account must roll out revisions, and not change who may call."
  }
}

run "a_public_service_is_refused" {
  command = plan

  variables {
    invokers      = ["allUsers"]
    model_writers = ["allAuthenticatedUsers"]
  }

  expect_failures = [var.invokers, var.model_writers]
}

run "an_image_by_its_tag_is_refused" {
  command = plan

  variables {
    image = "europe-west1-docker.pkg.dev/example/mlsys/mlsys:latest"
  }

  expect_failures = [var.image]
}

run "any_code_in_models_is_allowed_by_name" {
  command = plan

  variables {
    models = "any"
  }

  assert {
    condition     = { for e in google_cloud_run_v2_service.this.template[0].containers[0].env : e.name => e.value }["MLSYS_MODELS"] == "any"
    error_message = "The service does not get the setting."
  }
}

run "an_unknown_kind_of_models_is_refused" {
  command = plan

  variables {
    models = "everything"
  }

  expect_failures = [var.models]
}

run "an_unknown_environment_is_refused" {
  command = plan

  variables {
    env = "production"
  }

  expect_failures = [var.env]
}
