locals {
  redis_port      = 6379
  redis_clustered = var.redis_shard_count > 1
  redis_endpoint = (
    local.redis_clustered
    ? aws_elasticache_replication_group.main.configuration_endpoint_address
    : aws_elasticache_replication_group.main.primary_endpoint_address
  )
}

resource "aws_elasticache_subnet_group" "main" {
  name       = var.name
  subnet_ids = [for subnet in aws_subnet.private : subnet.id]
}

resource "aws_elasticache_parameter_group" "main" {
  name   = "${var.name}-redis7${local.redis_clustered ? "-cluster" : ""}"
  family = "redis7"

  # A session that was evicted would let its user past the limit: better to refuse what is new.
  parameter {
    name  = "maxmemory-policy"
    value = "noeviction"
  }

  dynamic "parameter" {
    for_each = local.redis_clustered ? ["yes"] : []
    content {
      name  = "cluster-enabled"
      value = parameter.value
    }
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_elasticache_replication_group" "main" {
  replication_group_id = var.name
  description          = "Sessions of ${var.name}"

  engine               = "redis"
  engine_version       = "7.1"
  node_type            = var.redis_node_type
  parameter_group_name = aws_elasticache_parameter_group.main.name
  port                 = local.redis_port

  num_cache_clusters      = local.redis_clustered ? null : var.redis_nodes_per_shard
  num_node_groups         = local.redis_clustered ? var.redis_shard_count : null
  replicas_per_node_group = local.redis_clustered ? var.redis_nodes_per_shard - 1 : null

  automatic_failover_enabled = var.redis_nodes_per_shard > 1
  multi_az_enabled           = var.redis_nodes_per_shard > 1

  subnet_group_name  = aws_elasticache_subnet_group.main.name
  security_group_ids = [aws_security_group.redis.id]

  at_rest_encryption_enabled = true
  transit_encryption_enabled = true
  # Adds the new token and keeps the one before, so that running tasks go on.
  auth_token                 = aws_secretsmanager_secret_version.app["REDIS_PASSWORD"].secret_string
  auth_token_update_strategy = "ROTATE"

  # Sessions live for seconds: a snapshot would be of people who have gone.
  snapshot_retention_limit   = 0
  auto_minor_version_upgrade = true
  apply_immediately          = true

  dynamic "log_delivery_configuration" {
    for_each = ["slow-log", "engine-log"]
    content {
      destination      = aws_cloudwatch_log_group.main["redis"].name
      destination_type = "cloudwatch-logs"
      log_format       = "json"
      log_type         = log_delivery_configuration.value
    }
  }

  depends_on = [aws_cloudwatch_log_resource_policy.delivery]
}
