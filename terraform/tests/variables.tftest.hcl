# One run for each rule of variables.tf, with an input that this rule alone refuses.

mock_provider "aws" {
  source = "./tests/mocks"
}

# No rule is so narrow that it refuses what it should not.
run "the_ends_of_what_is_allowed" {
  command = plan

  variables {
    domain_name             = var.hosted_zone_name
    name                    = "abcdefghij-klmnopqrst-12"
    region                  = "us-gov-west-1"
    stream_origin           = "https://media.example.com/a/{stream_id}/index.m3u8"
    app_port                = 65535
    media_base_url          = "http://cdn.example.com:8080/media"
    callback_url            = "https://receiver.example.com/hooks?tenant=1"
    callback_events         = ["session.refused"]
    app_environment         = { AUTH_ISSUER = "https://issuer.example.com" }
    task_cpu                = 2048
    task_memory             = 16384
    min_tasks               = 1
    max_tasks               = 1
    redis_cluster_ready     = true
    redis_shard_count       = 256
    redis_nodes_per_shard   = 6
    vpc_cidr                = "10.0.0.0/23"
    availability_zone_count = 3
    log_retention_days      = 3653
    waf_rate_limit          = 10
  }

  assert {
    condition = (
      length(regexall("\n  validation \\{", file("${path.root}/variables.tf")))
      == length(regexall("expect_failures = \\[var", file("${path.root}/tests/variables.tftest.hcl")))
    )
    error_message = "There is a rule without a run that it refuses."
  }
}

run "a_region_of_fewer_zones" {
  command = plan

  variables {
    availability_zone_count = 6
  }

  expect_failures = [aws_vpc.main]
}

run "domain_outside_the_zone" {
  command = plan

  variables {
    domain_name = "gate.example.org"
  }

  expect_failures = [var.domain_name]
}

run "repository_with_a_host" {
  command = plan

  variables {
    source_repository = "github.com/example/streamgate"
  }

  expect_failures = [var.source_repository]
}

run "origin_without_a_stream" {
  command = plan

  variables {
    stream_origin = "https://media.example.com/index.m3u8"
  }

  expect_failures = [var.stream_origin]
}

run "authentication_that_is_not_there" {
  command = plan

  variables {
    auth_mode = "basic"
  }

  expect_failures = [var.auth_mode]
}

run "authentication_without_an_issuer" {
  command = plan

  variables {
    auth_mode       = "jwt"
    app_environment = { AUTH_JWKS_URL = "https://issuer.example.com/keys", AUTH_AUDIENCE = "streamgate" }
  }

  expect_failures = [var.auth_mode]
}

run "name_too_long_for_a_load_balancer" {
  command = plan

  variables {
    name = "streamgate-of-the-north-west"
  }

  expect_failures = [var.name]
}

run "zone_for_a_region" {
  command = plan

  variables {
    region = "us-east-1a"
  }

  expect_failures = [var.region]
}

run "privileged_port" {
  command = plan

  variables {
    app_port = 80
  }

  expect_failures = [var.app_port]
}

run "media_with_credentials" {
  command = plan

  variables {
    media_base_url = "https://user:password@cdn.example.com"
  }

  expect_failures = [var.media_base_url]
}

run "callbacks_in_the_clear" {
  command = plan

  variables {
    callback_url = "http://receiver.example.com"
  }

  expect_failures = [var.callback_url]
}

run "event_that_nobody_sends" {
  command = plan

  variables {
    callback_url    = "https://receiver.example.com"
    callback_events = ["session.paused"]
  }

  expect_failures = [var.callback_events]
}

run "events_for_nobody" {
  command = plan

  variables {
    callback_events = ["session.ended"]
  }

  expect_failures = [var.callback_events]
}

run "environment_of_the_stack" {
  command = plan

  variables {
    app_environment = { SESSION_STORE = "memory" }
  }

  expect_failures = [var.app_environment]
}

run "secret_in_plain" {
  command = plan

  variables {
    app_environment = { AUTH_JWT_SECRET = "in plain" }
  }

  expect_failures = [var.app_environment]
}

run "cpu_that_fargate_has_not" {
  command = plan

  variables {
    task_cpu = 300
  }

  expect_failures = [var.task_cpu]
}

run "memory_that_its_cpu_has_not" {
  command = plan

  variables {
    task_cpu    = 1024
    task_memory = 1024
  }

  expect_failures = [var.task_memory]
}

run "no_task" {
  command = plan

  variables {
    min_tasks = 0
  }

  expect_failures = [var.min_tasks]
}

run "fewer_at_most_than_at_least" {
  command = plan

  variables {
    min_tasks = 4
    max_tasks = 3
  }

  expect_failures = [var.max_tasks]
}

run "no_request" {
  command = plan

  variables {
    requests_per_task = 0
  }

  expect_failures = [var.requests_per_task]
}

run "node_of_another_service" {
  command = plan

  variables {
    redis_node_type = "db.t4g.micro"
  }

  expect_failures = [var.redis_node_type]
}

run "too_many_replicas" {
  command = plan

  variables {
    redis_nodes_per_shard = 7
  }

  expect_failures = [var.redis_nodes_per_shard]
}

run "more_shards_than_partitions" {
  command = plan

  variables {
    redis_cluster_ready = true
    redis_shard_count   = 257
  }

  expect_failures = [var.redis_shard_count]
}

run "shards_before_the_service_knows_them" {
  command = plan

  variables {
    redis_shard_count = 2
  }

  expect_failures = [var.redis_shard_count]
}

run "shards_without_replicas" {
  command = plan

  variables {
    redis_cluster_ready   = true
    redis_shard_count     = 2
    redis_nodes_per_shard = 1
  }

  expect_failures = [var.redis_shard_count]
}

run "range_too_small_for_its_subnets" {
  command = plan

  variables {
    vpc_cidr = "10.0.0.0/24"
  }

  expect_failures = [var.vpc_cidr]
}

run "one_zone" {
  command = plan

  variables {
    availability_zone_count = 1
  }

  expect_failures = [var.availability_zone_count]
}

run "retention_that_cloudwatch_has_not" {
  command = plan

  variables {
    log_retention_days = 31
  }

  expect_failures = [var.log_retention_days]
}

run "rate_below_what_waf_takes" {
  command = plan

  variables {
    waf_rate_limit = 9
  }

  expect_failures = [var.waf_rate_limit]
}
