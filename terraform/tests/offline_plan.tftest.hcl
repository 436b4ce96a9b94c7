# Planned by the real provider without credentials or network: it checks what a mocked one does not, such as several
# zones without failover, or a value that no service knows.

provider "aws" {
  region                      = "us-east-1"
  access_key                  = "none"
  secret_key                  = "none"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_requesting_account_id  = true
}

override_data {
  target = data.aws_availability_zones.available
  values = { names = ["us-east-1a", "us-east-1b", "us-east-1c"] }
}
override_data {
  target = data.aws_caller_identity.current
  values = { account_id = "123456789012" }
}
override_data {
  target = data.aws_route53_zone.main
  values = { zone_id = "Z0123456789ABCDEFGHIJ" }
}
override_data {
  target = data.aws_secretsmanager_random_password.app
  values = { random_password = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ99" }
}

override_data {
  target = data.aws_partition.current
  values = { partition = "aws" }
}
override_data {
  target = data.aws_region.current
  values = { id = "us-east-1", name = "us-east-1" }
}

run "plan" {
  command = plan

  assert {
    condition     = length(aws_subnet.public) == 2 && length(aws_subnet.private) == 2
    error_message = "There is not one subnet of each tier in each of two zones."
  }
  assert {
    condition     = output.url == "https://gate.example.com"
    error_message = "The URL is not that of the domain."
  }
}

run "plan_of_shards" {
  command = plan

  variables {
    # With everything that the real provider may object to.
    task_network                 = "nat"
    ipv6_enabled                 = true
    latency_routing_enabled      = true
    metrics_agent_enabled        = true
    access_logs_enabled          = true
    flow_logs_enabled            = true
    redis_engine                 = "valkey"
    cpu_architecture             = "ARM64"
    spot_percentage              = 70
    kms_key_arn                  = "arn:aws:kms:us-east-1:123456789012:key/01234567-0123-0123-0123-0123456789ab"
    staging_stack                = "streamgate-staging"
    alarm_emails                 = ["ops@example.com"]
    deployment_approval_required = true

    redis_shard_count       = 3
    availability_zone_count = 3
  }

  assert {
    condition     = aws_elasticache_replication_group.main.num_node_groups == 3 && aws_elasticache_replication_group.main.automatic_failover_enabled
    error_message = "Redis is not in cluster mode with three shards."
  }
}
