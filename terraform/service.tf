locals {
  container_name = "app"
  # This path never asks Redis: a restart mends no Redis, and a short outage of Redis would end every task.
  health_path = "/health/live"

  # What src/config reads. tests/environment.json says the same, and tests hold both sides against it.
  environment = merge(
    var.app_environment,
    {
      NODE_ENV      = "production"
      PORT          = tostring(var.app_port)
      OPERATOR_PORT = tostring(var.operator_port)
      REDIS_URL     = "rediss://${local.redis_endpoint}:${local.redis_port}"
      AUTH_MODE     = var.auth_mode
      STREAM_ORIGIN = var.stream_origin
      # The load balancer connects from its subnets. It appends the client's address to X-Forwarded-For.
      TRUSTED_PROXIES = join(",", local.network.cidr_blocks)
    },
    local.redis_clustered ? { REDIS_CLUSTER = "true" } : {},
    var.media_base_url == null ? {} : { MEDIA_BASE_URL = var.media_base_url },
    var.media_signing == "hmac" ? {} : { MEDIA_SIGNING = var.media_signing },
    var.cloudfront_key_pair_id == null ? {} : { CLOUDFRONT_KEY_PAIR_ID = var.cloudfront_key_pair_id },
    var.auth_mode == "none" ? {} : {
      AUTH_ISSUER   = var.auth_issuer
      AUTH_AUDIENCE = var.auth_audience
    },
    var.auth_jwks_url == null ? {} : { AUTH_JWKS_URL = var.auth_jwks_url },
    # The service reads a PEM with its line breaks written as \n, which survive every tool on the way.
    var.auth_public_key == null ? {} : { AUTH_JWT_PUBLIC_KEY = replace(trimspace(var.auth_public_key), "\n", "\\n") },
    var.callback_url == null ? {} : { CALLBACK_URL = var.callback_url },
    length(var.callback_events) == 0 ? {} : { CALLBACK_EVENTS = join(",", var.callback_events) },
  )
}

resource "aws_ecs_cluster" "main" {
  name = var.name

  setting {
    name  = "containerInsights"
    value = var.container_insights
  }

  configuration {
    execute_command_configuration {
      logging = "OVERRIDE"
      log_configuration {
        cloud_watch_log_group_name = aws_cloudwatch_log_group.main["exec"].name
      }
    }
  }

  # AWS would make the group by itself, and keep its events for ever.
  depends_on = [aws_cloudwatch_log_group.main]
}

resource "aws_ecs_cluster_capacity_providers" "main" {
  cluster_name       = aws_ecs_cluster.main.name
  capacity_providers = ["FARGATE", "FARGATE_SPOT"]

  default_capacity_provider_strategy {
    capacity_provider = "FARGATE"
    weight            = 1
  }
}

resource "aws_ecs_task_definition" "app" {
  family                   = var.name
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = var.task_cpu
  memory                   = var.task_memory
  execution_role_arn       = aws_iam_role.execution.arn
  task_role_arn            = aws_iam_role.task.arn

  # The pipeline registers revisions as well: compare with the latest, whoever made it.
  track_latest = true
  # A service can go back to an old revision as long as that is active. Revisions cost nothing.
  skip_destroy = true

  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = var.cpu_architecture
  }

  container_definitions = jsonencode([{
    name         = local.container_name
    image        = "${local.repository.url}:${aws_ssm_parameter.image_tag.insecure_value}"
    essential    = true
    user         = "1000:1000"
    portMappings = [for port in [var.app_port, var.operator_port] : { containerPort = port, hostPort = port, protocol = "tcp" }]

    environment = [for name, value in local.environment : { name = name, value = value }]
    secrets     = [for name, secret in aws_secretsmanager_secret.app : { name = name, valueFrom = secret.arn }]

    # The agent of ECS Exec writes to the root file system.
    readonlyRootFilesystem = !var.execute_command_enabled
    linuxParameters        = { initProcessEnabled = true }
    # The service ends by itself within 10 s: it drains for 2 s, then 5 s for requests, then Redis.
    stopTimeout = 30

    # No healthCheck: the load balancer's check alone decides. A check in the container starts a second Node for each
    # probe, which at a fraction of a core takes longer than its time-out, and ECS then ends the busiest tasks.

    logConfiguration = {
      logDriver = "awslogs"
      options = {
        "awslogs-group"         = aws_cloudwatch_log_group.main["app"].name
        "awslogs-region"        = local.region
        "awslogs-stream-prefix" = local.container_name
        # A slow CloudWatch must not stop the service.
        "mode"            = "non-blocking"
        "max-buffer-size" = "4m"
      }
    }
  }])

  # A new task must be able to read what it names.
  depends_on = [aws_secretsmanager_secret_version.app]
}

resource "aws_ecs_service" "app" {
  name            = var.name
  cluster         = aws_ecs_cluster.main.id
  task_definition = aws_ecs_task_definition.app.arn
  desired_count   = var.min_tasks

  enable_execute_command            = var.execute_command_enabled
  propagate_tags                    = "SERVICE"
  availability_zone_rebalancing     = "ENABLED"
  health_check_grace_period_seconds = 60
  # There is no image at the first apply. ECS tries some times and gives up; the pipeline then deploys anew.
  wait_for_steady_state = false
  # ECS takes another share of Spot with a new deployment only.
  force_new_deployment = true

  deployment_minimum_healthy_percent = 100
  deployment_maximum_percent         = 200

  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  # A deployment that makes clients see errors is rolled back, even if its tasks start and answer the health check.
  dynamic "alarms" {
    for_each = var.alarms_enabled ? ["deployment"] : []
    content {
      enable      = true
      rollback    = true
      alarm_names = [for key in local.deployment_alarms : aws_cloudwatch_metric_alarm.main[key].alarm_name]
    }
  }

  # The first task is always on demand; the rest are shared out by weight.
  dynamic "capacity_provider_strategy" {
    for_each = { for provider, weight in { FARGATE = 100 - var.spot_percentage, FARGATE_SPOT = var.spot_percentage } : provider => weight if weight > 0 || provider == "FARGATE" }
    content {
      capacity_provider = capacity_provider_strategy.key
      weight            = capacity_provider_strategy.value
      base              = capacity_provider_strategy.key == "FARGATE" ? 1 : null
    }
  }

  # Public addresses instead of NAT by default: the security group lets in the load balancer alone.
  network_configuration {
    subnets          = local.network.task_subnet_ids
    security_groups  = [aws_security_group.ecs.id]
    assign_public_ip = local.network.tasks_have_public_address
  }

  load_balancer {
    target_group_arn = aws_lb_target_group.app.arn
    container_name   = local.container_name
    container_port   = var.app_port
  }

  service_registries {
    registry_arn = aws_service_discovery_service.app.arn
  }

  lifecycle {
    ignore_changes = [desired_count] # Auto scaling sets it.
  }

  # Tasks start at once, and need all of this to.
  depends_on = [
    aws_ecs_cluster_capacity_providers.main,
    aws_iam_role_policy.execution,
    aws_lb_listener_rule.app,
    aws_route.internet,
    aws_route.nat,
    aws_route_table_association.public,
    aws_route_table_association.task,
    aws_vpc_endpoint.interface,
    aws_vpc_endpoint.s3,
    aws_vpc_security_group_egress_rule.ecs_to_https,
    aws_vpc_security_group_egress_rule.ecs_to_redis,
    aws_vpc_security_group_ingress_rule.redis_from_ecs,
  ]
}

resource "aws_service_discovery_private_dns_namespace" "main" {
  name        = "${var.name}.internal"
  description = "Tasks of ${var.name}, within the VPC"
  vpc         = local.network.vpc_id
}

resource "aws_service_discovery_service" "app" {
  name          = local.container_name
  force_destroy = true # Tasks may still be registered when it goes.

  dns_config {
    namespace_id   = aws_service_discovery_private_dns_namespace.main.id
    routing_policy = "MULTIVALUE"

    dns_records {
      type = "A"
      ttl  = 10
    }
  }

  # ECS reports here which tasks run. An empty block would be dropped.
  health_check_custom_config {
    failure_threshold = 1
  }
}
