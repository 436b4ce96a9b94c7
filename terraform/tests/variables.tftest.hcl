# Inputs that each rule of variables.tf refuses. A run breaks one rule of many variables at once: Terraform names every
# variable that is refused, and a run fails if one of those it expects is not. Terraform skips the rules of a variable that
# read a refused one, so that those come in other runs.

mock_provider "aws" {
  source = "./tests/mocks"
}

# No rule is so narrow that it refuses what it should not.
run "the_ends_of_what_is_allowed" {
  command = plan

  variables {
    domain_name                   = var.hosted_zone_name
    name                          = "abcdefghij-klmnopqrst-12"
    stream_origin                 = "https://media.example.com/a/{stream_id}/index.m3u8"
    app_port                      = 65535
    media_base_url                = "http://cdn.example.com:8080/media"
    callback_url                  = "https://receiver.example.com/hooks?tenant=1"
    callback_events               = ["session.refused"]
    media_signing                 = "cloudfront"
    cloudfront_key_pair_id        = "K2JCJMDEHXQW5F"
    auth_mode                     = "jwt"
    auth_jwks_url                 = "https://issuer.example.com"
    auth_issuer                   = "our issuer"
    auth_audience                 = "a"
    app_environment               = { LOG_LEVEL = "warn" }
    task_cpu                      = 2048
    task_memory                   = 16384
    min_tasks                     = 1
    max_tasks                     = 1
    redis_shard_count             = 256
    redis_nodes_per_shard         = 6
    redis_engine                  = "valkey"
    redis_snapshot_retention_days = 35
    spot_percentage               = 100
    cpu_architecture              = "ARM64"
    task_network                  = "nat"
    vpc_cidr                      = "10.0.0.0/23"
    availability_zone_count       = 3
    staging_stack                 = "abc"
    initial_image_tag             = "_1.2-a"
    scraper_security_group_ids    = ["sg-0"]
    alarms_enabled                = false
    metrics_agent_image           = "example.com/agent@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
    permissions_boundary_arn      = "arn:aws-us-gov:iam::aws:policy/PowerUserAccess"
    kms_key_arn                   = "arn:aws-cn:kms:cn-north-1:123456789012:key/a"
    log_retention_days            = 3653
    waf_rate_limit                = 10
  }

  assert {
    condition = (
      length(regexall("\n  validation \\{", file("${path.root}/variables.tf")))
      == length(regexall("(?m)^    var\\.[a-z_]+,$", file("${path.root}/tests/variables.tftest.hcl")))
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

run "rules_of_one_variable" {
  command = plan

  variables {
    domain_name                   = "gate.example.org"
    source_repository             = "github.com/example/streamgate"
    stream_origin                 = "https://media.example.com/index.m3u8"
    auth_mode                     = "basic"
    name                          = "streamgate-of-the-north-west"
    app_port                      = 80
    media_base_url                = "https://user:password@cdn.example.com"
    media_signing                 = "akamai"
    callback_url                  = "http://receiver.example.com"
    app_environment               = { SESSION_STORE = "memory" }
    task_cpu                      = 300
    min_tasks                     = 0
    requests_per_task             = 0
    redis_node_type               = "db.t4g.micro"
    redis_nodes_per_shard         = 7
    redis_engine                  = "memcached"
    redis_snapshot_retention_days = 36
    cpu_architecture              = "arm64"
    spot_percentage               = 101
    vpc_cidr                      = "10.0.0.0/24"
    availability_zone_count       = 1
    scraper_security_group_ids    = ["prometheus"]
    initial_image_tag             = "streamgate:1"
    alarm_emails                  = ["ops"]
    metrics_agent_image           = "example.com/agent:latest"
    container_insights            = "on"
    log_retention_days            = 31
    permissions_boundary_arn      = "boundary"
    kms_key_arn                   = "alias/streamgate"
    waf_rate_limit                = 9
    existing_network = {
      vpc_id            = "vpc-1"
      cidr_blocks       = ["10.1.0.0/16"]
      public_subnet_ids = ["subnet-1"]
      task_subnet_ids   = ["subnet-1"]
      redis_subnet_ids  = ["subnet-1"]
    }
  }

  expect_failures = [
    var.domain_name,
    var.source_repository,
    var.stream_origin,
    var.auth_mode,
    var.name,
    var.app_port,
    var.media_base_url,
    var.media_signing,
    var.callback_url,
    var.app_environment,
    var.task_cpu,
    var.min_tasks,
    var.requests_per_task,
    var.redis_node_type,
    var.redis_nodes_per_shard,
    var.redis_engine,
    var.redis_snapshot_retention_days,
    var.cpu_architecture,
    var.spot_percentage,
    var.vpc_cidr,
    var.availability_zone_count,
    var.scraper_security_group_ids,
    var.initial_image_tag,
    var.alarm_emails,
    var.metrics_agent_image,
    var.container_insights,
    var.log_retention_days,
    var.permissions_boundary_arn,
    var.kms_key_arn,
    var.waf_rate_limit,
    var.existing_network,
  ]
}

run "rules_of_authentication_and_signing" {
  command = plan

  variables {
    auth_mode              = "jwt"
    auth_jwks_url          = "http://issuer.example.com"
    auth_issuer            = ""
    media_signing          = "cloudfront"
    cloudfront_key_pair_id = "our key"
    task_cpu               = 1024
    task_memory            = 1024
    min_tasks              = 4
    max_tasks              = 3
    callback_events        = ["session.ended"]
    app_environment        = { AUTH_JWT_SECRET = "in plain" }
    alarms_enabled         = false
    alarm_emails           = ["ops@example.com"]
    deployed_by_stack      = "streamgate-prod"
    staging_stack          = "streamgate-staging"
  }

  expect_failures = [
    var.auth_jwks_url,
    var.auth_issuer,
    var.auth_audience,
    var.cloudfront_key_pair_id,
    var.task_memory,
    var.max_tasks,
    var.callback_events,
    var.app_environment,
    var.alarm_emails,
    var.deployed_by_stack,
  ]
}

run "two_kinds_of_keys" {
  command = plan

  variables {
    auth_mode             = "jwt"
    auth_jwks_url         = "https://issuer.example.com"
    auth_public_key       = "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----"
    auth_issuer           = "https://issuer.example.com"
    auth_audience         = "streamgate"
    media_signing         = "cloudfront"
    redis_shard_count     = 2
    redis_nodes_per_shard = 1
    task_network          = "nat"
    deployed_by_stack     = "Prod"
    existing_network = {
      vpc_id            = "vpc-1"
      cidr_blocks       = ["10.1.0.0/16"]
      public_subnet_ids = ["subnet-1", "subnet-2"]
      task_subnet_ids   = ["subnet-1"]
      redis_subnet_ids  = ["subnet-1"]
    }
  }

  expect_failures = [
    var.auth_jwks_url,
    var.cloudfront_key_pair_id,
    var.redis_shard_count,
    var.task_network,
    var.deployed_by_stack,
  ]
}

run "rules_of_variables_that_read_others" {
  command = plan

  variables {
    auth_public_key   = "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----"
    callback_url      = "https://receiver.example.com"
    callback_events   = ["session.paused"]
    redis_shard_count = 257
    task_network      = "private"
    staging_stack     = "Staging"
    operator_port     = 80
  }

  expect_failures = [
    var.auth_public_key,
    var.callback_events,
    var.redis_shard_count,
    var.task_network,
    var.staging_stack,
    var.operator_port,
  ]
}

run "one_port_for_all" {
  command = plan

  variables {
    operator_port = 8080
  }

  expect_failures = [
    var.operator_port,
  ]
}
