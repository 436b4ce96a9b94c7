locals {
  container_name = "app"
  # Never asks Redis: a restart would not mend Redis, and would end every task when it blinks.
  health_path = "/health/live"

  # What src/config.ts reads. tests/environment.json says the same, and is held against both sides.
  environment = merge(
    var.app_environment,
    {
      NODE_ENV      = "production"
      PORT          = tostring(var.app_port)
      REDIS_URL     = "rediss://${local.redis_endpoint}:${local.redis_port}"
      AUTH_MODE     = var.auth_mode
      STREAM_ORIGIN = var.stream_origin
      # The load balancer asks from its subnets. What it appends to X-Forwarded-For is the client's address.
      TRUSTED_PROXIES = aws_vpc.main.cidr_block
    },
    local.redis_clustered ? { REDIS_CLUSTER = "true" } : {},
    var.media_base_url == null ? {} : { MEDIA_BASE_URL = var.media_base_url },
    var.media_signing == "hmac" ? {} : { MEDIA_SIGNING = var.media_signing },
    var.cloudfront_key_pair_id == null ? {} : { CLOUDFRONT_KEY_PAIR_ID = var.cloudfront_key_pair_id },
    var.auth_mode == "none" ? {} : {
      AUTH_JWKS_URL = var.auth_jwks_url
      AUTH_ISSUER   = var.auth_issuer
      AUTH_AUDIENCE = var.auth_audience
    },
    var.callback_url == null ? {} : { CALLBACK_URL = var.callback_url },
    length(var.callback_events) == 0 ? {} : { CALLBACK_EVENTS = join(",", var.callback_events) },
  )
}

resource "aws_ecs_cluster" "main" {
  name = var.name

  setting {
    name  = "containerInsights"
    value = "enabled"
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
  capacity_providers = ["FARGATE"]

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
    cpu_architecture        = "X86_64"
  }

  container_definitions = jsonencode([{
    name         = local.container_name
    image        = "${aws_ecr_repository.app.repository_url}:${aws_ssm_parameter.image_tag.insecure_value}"
    essential    = true
    portMappings = [{ containerPort = var.app_port, hostPort = var.app_port, protocol = "tcp" }]

    environment = [for name, value in local.environment : { name = name, value = value }]
    secrets     = [for name, secret in aws_secretsmanager_secret.app : { name = name, valueFrom = secret.arn }]

    # The agent of ECS Exec writes to the root file system.
    readonlyRootFilesystem = !var.execute_command_enabled
    linuxParameters        = { initProcessEnabled = true }
    # The service ends by itself within 10 s: 5 s for requests, then Redis.
    stopTimeout = 30

    # The image has node and no curl.
    healthCheck = {
      command = [
        "CMD", "node", "-e",
        "fetch('http://127.0.0.1:${var.app_port}${local.health_path}').then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))",
      ]
      interval    = 30
      timeout     = 5
      retries     = 3
      startPeriod = 30
    }

    logConfiguration = {
      logDriver = "awslogs"
      options = {
        "awslogs-group"         = aws_cloudwatch_log_group.main["app"].name
        "awslogs-region"        = var.region
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
  # There is no image at the first apply. ECS tries some times and gives up; the pipeline's deployment is a new one.
  wait_for_steady_state = false

  deployment_minimum_healthy_percent = 100
  deployment_maximum_percent         = 200

  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  capacity_provider_strategy {
    capacity_provider = "FARGATE"
    weight            = 1
  }

  # Public addresses instead of NAT: the security group lets in the load balancer alone.
  network_configuration {
    subnets          = [for subnet in aws_subnet.public : subnet.id]
    security_groups  = [aws_security_group.ecs.id]
    assign_public_ip = true
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
    ignore_changes = [desired_count] # Auto scaling's.
  }

  # Tasks start at once, and need all of this to.
  depends_on = [
    aws_ecs_cluster_capacity_providers.main,
    aws_iam_role_policy.execution,
    aws_lb_listener_rule.app,
    aws_route.internet,
    aws_route_table_association.public,
    aws_vpc_security_group_egress_rule.ecs_to_https,
    aws_vpc_security_group_egress_rule.ecs_to_redis,
    aws_vpc_security_group_ingress_rule.redis_from_ecs,
  ]
}

resource "aws_service_discovery_private_dns_namespace" "main" {
  name        = "${var.name}.internal"
  description = "Tasks of ${var.name}, within the VPC"
  vpc         = aws_vpc.main.id
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

  # ECS reports the container's health here. An empty block would be dropped.
  health_check_custom_config {
    failure_threshold = 1
  }
}
