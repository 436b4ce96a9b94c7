# Rules are resources of their own, never inline: mixing both loses rules.

locals {
  # What the load balancer asks of a task, and where.
  balancer_ports = { clients = var.app_port, health = var.operator_port }
}

resource "aws_security_group" "alb" {
  name_prefix = "${var.name}-alb-"
  description = "Load balancer: HTTP and HTTPS from anywhere"
  vpc_id      = local.network.vpc_id
  tags        = { Name = "${var.name}-alb" }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_ingress_rule" "alb_from_internet" {
  for_each = { http = 80, https = 443 }

  security_group_id = aws_security_group.alb.id
  description       = "${upper(each.key)} from anywhere"
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = each.value
  to_port           = each.value
}

resource "aws_vpc_security_group_ingress_rule" "alb_from_internet_ipv6" {
  for_each = var.ipv6_enabled ? { http = 80, https = 443 } : {}

  security_group_id = aws_security_group.alb.id
  description       = "${upper(each.key)} from anywhere"
  cidr_ipv6         = "::/0"
  ip_protocol       = "tcp"
  from_port         = each.value
  to_port           = each.value
}

resource "aws_vpc_security_group_egress_rule" "alb_to_ecs" {
  for_each = local.balancer_ports

  security_group_id            = aws_security_group.alb.id
  description                  = "To the tasks, for ${each.key}"
  referenced_security_group_id = aws_security_group.ecs.id
  ip_protocol                  = "tcp"
  from_port                    = each.value
  to_port                      = each.value
}

# With one port there was one rule without a key.
moved {
  from = aws_vpc_security_group_egress_rule.alb_to_ecs
  to   = aws_vpc_security_group_egress_rule.alb_to_ecs["clients"]
}

resource "aws_security_group" "ecs" {
  name_prefix = "${var.name}-ecs-"
  description = "Tasks: from the load balancer, from other tasks and from scrapers"
  vpc_id      = local.network.vpc_id
  tags        = { Name = "${var.name}-ecs" }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_ingress_rule" "ecs_from_alb" {
  for_each = local.balancer_ports

  security_group_id            = aws_security_group.ecs.id
  description                  = "From the load balancer, for ${each.key}"
  referenced_security_group_id = aws_security_group.alb.id
  ip_protocol                  = "tcp"
  from_port                    = each.value
  to_port                      = each.value
}

# With one port there was one rule without a key.
moved {
  from = aws_vpc_security_group_ingress_rule.ecs_from_alb
  to   = aws_vpc_security_group_ingress_rule.ecs_from_alb["clients"]
}

# Service discovery leads to /internal and /metrics, which the load balancer does not let through.
resource "aws_vpc_security_group_ingress_rule" "ecs_from_ecs" {
  security_group_id            = aws_security_group.ecs.id
  description                  = "From tasks, by the discovery name"
  referenced_security_group_id = aws_security_group.ecs.id
  ip_protocol                  = "tcp"
  from_port                    = var.operator_port
  to_port                      = var.operator_port
}

resource "aws_vpc_security_group_ingress_rule" "ecs_from_scrapers" {
  for_each = toset(var.scraper_security_group_ids)

  security_group_id            = aws_security_group.ecs.id
  description                  = "From a scraper of /metrics"
  referenced_security_group_id = each.value
  ip_protocol                  = "tcp"
  from_port                    = var.operator_port
  to_port                      = var.operator_port
}

resource "aws_vpc_security_group_egress_rule" "ecs_to_ecs" {
  security_group_id            = aws_security_group.ecs.id
  description                  = "To tasks, by the discovery name"
  referenced_security_group_id = aws_security_group.ecs.id
  ip_protocol                  = "tcp"
  from_port                    = var.operator_port
  to_port                      = var.operator_port
}

resource "aws_vpc_security_group_egress_rule" "ecs_to_redis" {
  security_group_id            = aws_security_group.ecs.id
  description                  = "To Redis"
  referenced_security_group_id = aws_security_group.redis.id
  ip_protocol                  = "tcp"
  from_port                    = local.redis_port
  to_port                      = local.redis_port
}

resource "aws_vpc_security_group_egress_rule" "ecs_to_https" {
  security_group_id = aws_security_group.ecs.id
  description       = "To the origin, receivers of callbacks, and AWS: images, secrets, logs"
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_security_group" "redis" {
  name_prefix = "${var.name}-redis-"
  description = "Redis: from the tasks alone"
  vpc_id      = local.network.vpc_id
  tags        = { Name = "${var.name}-redis" }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_ingress_rule" "redis_from_ecs" {
  security_group_id            = aws_security_group.redis.id
  description                  = "From the tasks"
  referenced_security_group_id = aws_security_group.ecs.id
  ip_protocol                  = "tcp"
  from_port                    = local.redis_port
  to_port                      = local.redis_port
}

# The VPC endpoints of tasks that have no way to the internet.
resource "aws_security_group" "endpoints" {
  count = local.private_tasks && var.task_network == "endpoints" ? 1 : 0

  name_prefix = "${var.name}-endpoints-"
  description = "VPC endpoints: HTTPS from the tasks and from the metrics agent"
  vpc_id      = local.network.vpc_id
  tags        = { Name = "${var.name}-endpoints" }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_ingress_rule" "endpoints_from_tasks" {
  for_each = merge(
    local.private_tasks && var.task_network == "endpoints" ? { tasks = aws_security_group.ecs.id } : {},
    local.private_tasks && var.task_network == "endpoints" && var.metrics_agent_enabled ? { agent = aws_security_group.agent[0].id } : {},
  )

  security_group_id            = aws_security_group.endpoints[0].id
  description                  = "HTTPS from the ${each.key}"
  referenced_security_group_id = each.value
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
}
