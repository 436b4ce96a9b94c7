locals {
  redis_engine = {
    redis  = { version = "7.1", family = "redis7" }
    valkey = { version = "8.0", family = "valkey8" }
  }[var.redis_engine]
  redis_port      = 6379
  redis_clustered = var.redis_shard_count > 1
  redis_endpoint = (
    local.redis_clustered
    ? aws_elasticache_replication_group.main.configuration_endpoint_address
    : aws_elasticache_replication_group.main.primary_endpoint_address
  )
  # ElastiCache names the nodes so, and a failover does not rename them.
  redis_nodes = [
    for pair in setproduct(range(1, var.redis_shard_count + 1), range(1, var.redis_nodes_per_shard + 1)) :
    local.redis_clustered ? format("%s-%04d-%03d", var.name, pair[0], pair[1]) : format("%s-%03d", var.name, pair[1])
  ]
}

resource "aws_elasticache_subnet_group" "main" {
  name       = var.name
  subnet_ids = local.network.redis_subnet_ids
}

resource "aws_elasticache_parameter_group" "main" {
  name   = "${var.name}-${local.redis_engine.family}${local.redis_clustered ? "-cluster" : ""}"
  family = local.redis_engine.family

  # An evicted session would let its user past the limit. It is better to refuse new sessions.
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

  engine               = var.redis_engine
  engine_version       = local.redis_engine.version
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
  kms_key_id                 = var.kms_key_arn
  transit_encryption_enabled = true
  # Adds the new token and keeps the one before, so that running tasks go on.
  auth_token                 = aws_secretsmanager_secret_version.app["REDIS_PASSWORD"].secret_string
  auth_token_update_strategy = "ROTATE"

  # Sessions live for seconds: by default no snapshot, which would list viewers who have gone.
  snapshot_retention_limit   = var.redis_snapshot_retention_days
  auto_minor_version_upgrade = true
  apply_immediately          = true
  # ElastiCache tells the topic of failovers and replaced nodes.
  notification_topic_arn = var.alarms_enabled ? aws_sns_topic.alarms[0].arn : null

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
