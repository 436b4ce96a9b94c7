# An agent (AWS Distro for OpenTelemetry) that scrapes /metrics of every task and writes what it finds to CloudWatch. It
# finds the tasks by the discovery name, so that a new one is scraped within seconds.
locals {
  agent_cpu    = 256
  agent_memory = 512

  # Each name costs 0.30 dollars a month: those that alarms and the dashboard read.
  agent_metrics = [
    "streamgate_callbacks_dead_letters", "streamgate_callbacks_lost_total", "streamgate_callbacks_oldest_seconds",
    "streamgate_callbacks_waiting", "streamgate_expiry_paused", "streamgate_rate_limited_total",
    "streamgate_sessions_live", "streamgate_store_up",
  ]

  agent_config = var.metrics_agent_enabled ? yamlencode({
    receivers = {
      prometheus = { config = { scrape_configs = [{
        job_name        = "streamgate"
        scrape_interval = "60s"
        metrics_path    = "/metrics"
        dns_sd_configs = [{
          names            = ["${aws_service_discovery_service.app.name}.${aws_service_discovery_private_dns_namespace.main.name}"]
          type             = "A"
          port             = var.operator_port
          refresh_interval = "15s"
        }]
        relabel_configs = [{ target_label = "stack", replacement = var.name }]
        metric_relabel_configs = [{
          source_labels = ["__name__"]
          regex         = join("|", local.agent_metrics)
          action        = "keep"
        }]
      }] } }
    }
    processors = { batch = {} }
    exporters = {
      awsemf = {
        namespace               = local.metrics_namespace
        region                  = local.region
        log_group_name          = aws_cloudwatch_log_group.main["agent"].name
        log_stream_name         = "metrics"
        dimension_rollup_option = "NoDimensionRollup"
        metric_declarations     = [{ dimensions = [["stack"]], metric_name_selectors = local.agent_metrics }]
      }
    }
    service = { pipelines = { metrics = {
      receivers  = ["prometheus"]
      processors = ["batch"]
      exporters  = ["awsemf"]
    } } }
  }) : null
}

resource "aws_security_group" "agent" {
  count = var.metrics_agent_enabled ? 1 : 0

  name_prefix = "${var.name}-agent-"
  description = "Metrics agent: lets nothing in"
  vpc_id      = local.network.vpc_id
  tags        = { Name = "${var.name}-agent" }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_egress_rule" "agent_to_ecs" {
  count = var.metrics_agent_enabled ? 1 : 0

  security_group_id            = aws_security_group.agent[0].id
  description                  = "To the tasks"
  referenced_security_group_id = aws_security_group.ecs.id
  ip_protocol                  = "tcp"
  from_port                    = var.operator_port
  to_port                      = var.operator_port
}

resource "aws_vpc_security_group_egress_rule" "agent_to_https" {
  count = var.metrics_agent_enabled ? 1 : 0

  security_group_id = aws_security_group.agent[0].id
  description       = "To AWS: its image, logs"
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_vpc_security_group_ingress_rule" "ecs_from_agent" {
  count = var.metrics_agent_enabled ? 1 : 0

  security_group_id            = aws_security_group.ecs.id
  description                  = "From the metrics agent"
  referenced_security_group_id = aws_security_group.agent[0].id
  ip_protocol                  = "tcp"
  from_port                    = var.operator_port
  to_port                      = var.operator_port
}

resource "aws_ecs_task_definition" "agent" {
  count = var.metrics_agent_enabled ? 1 : 0

  family                   = "${var.name}-agent"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = local.agent_cpu
  memory                   = local.agent_memory
  execution_role_arn       = aws_iam_role.execution.arn
  task_role_arn            = aws_iam_role.agent[0].arn
  skip_destroy             = true

  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = var.cpu_architecture
  }

  container_definitions = jsonencode([{
    name                   = "agent"
    image                  = var.metrics_agent_image
    essential              = true
    readonlyRootFilesystem = true
    environment            = [{ name = "AOT_CONFIG_CONTENT", value = local.agent_config }]

    logConfiguration = {
      logDriver = "awslogs"
      options = {
        "awslogs-group"         = aws_cloudwatch_log_group.main["agent"].name
        "awslogs-region"        = local.region
        "awslogs-stream-prefix" = "agent"
        "mode"                  = "non-blocking"
      }
    }
  }])
}

resource "aws_ecs_service" "agent" {
  count = var.metrics_agent_enabled ? 1 : 0

  name            = "${var.name}-agent"
  cluster         = aws_ecs_cluster.main.id
  task_definition = aws_ecs_task_definition.agent[0].arn
  desired_count   = 1
  propagate_tags  = "SERVICE"

  # Two agents would count everything twice: the old one goes before the new one comes.
  deployment_minimum_healthy_percent = 0
  deployment_maximum_percent         = 100

  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  capacity_provider_strategy {
    capacity_provider = "FARGATE"
    weight            = 1
  }

  network_configuration {
    subnets          = local.network.task_subnet_ids
    security_groups  = [aws_security_group.agent[0].id]
    assign_public_ip = local.network.tasks_have_public_address
  }

  depends_on = [
    aws_ecs_cluster_capacity_providers.main,
    aws_iam_role_policy.agent,
    aws_iam_role_policy.execution,
    aws_route.internet,
    aws_route.nat,
    aws_vpc_endpoint.interface,
    aws_vpc_endpoint.s3,
    aws_vpc_security_group_egress_rule.agent_to_https,
  ]
}
