resource "aws_lb" "main" {
  name                       = var.name
  load_balancer_type         = "application"
  ip_address_type            = var.ipv6_enabled ? "dualstack" : "ipv4"
  security_groups            = [aws_security_group.alb.id]
  subnets                    = local.network.public_subnet_ids
  drop_invalid_header_fields = true
  # The service takes the last address in X-Forwarded-For outside the VPC for the client's; a client may have made up
  # what stands before it. The load balancer overwrites X-Forwarded-Proto and passes on X-Forwarded-Host as it came: a
  # client changes by it only the URLs that it is given itself, as it may by Host.
  xff_header_processing_mode = "append"
  enable_deletion_protection = var.deletion_protection
  # Shorter than the service keeps a connection open, or a request could meet the end of its connection and be answered
  # 502; and longer than an event stream is silent. tests/timeouts.json says the same, and tests hold the service to it.
  idle_timeout = 60

  dynamic "access_logs" {
    for_each = var.access_logs_enabled ? ["balancer"] : []
    content {
      enabled = true
      bucket  = aws_s3_bucket.logs[0].bucket
      prefix  = access_logs.value
    }
  }

  depends_on = [aws_internet_gateway.main, aws_s3_bucket_policy.logs]
}

# No stickiness: all state is in Redis.
resource "aws_lb_target_group" "app" {
  name_prefix          = substr(var.name, 0, 6) # Six is the most.
  vpc_id               = local.network.vpc_id
  target_type          = "ip"
  protocol             = "HTTP"
  port                 = var.app_port
  deregistration_delay = 30

  # The only check of a task's health. It costs the task one small request, and it is patient: a task counts as dead after
  # 75 s without an answer within 10 s, so that a task that is merely busy stays. It goes to the port where no client waits.
  health_check {
    path                = local.health_path
    port                = var.operator_port
    matcher             = "200"
    interval            = 15
    timeout             = 10
    healthy_threshold   = 2
    unhealthy_threshold = 5
  }

  # Another port makes another group, and AWS deletes no group that a rule still names.
  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_lb_listener" "http" {
  load_balancer_arn = aws_lb.main.arn
  protocol          = "HTTP"
  port              = 80

  default_action {
    type = "redirect"
    redirect {
      protocol    = "HTTPS"
      port        = "443"
      status_code = "HTTP_301"
    }
  }
}

resource "aws_lb_listener" "https" {
  load_balancer_arn = aws_lb.main.arn
  protocol          = "HTTPS"
  port              = 443
  ssl_policy        = "ELBSecurityPolicy-TLS13-1-2-2021-06"
  certificate_arn   = aws_acm_certificate_validation.main.certificate_arn

  default_action {
    type = "fixed-response"
    fixed_response {
      content_type = "text/plain"
      message_body = "Not found"
      status_code  = "404"
    }
  }
}

# These paths are not for clients. Within the VPC the discovery name leads to them.
resource "aws_lb_listener_rule" "not_for_clients" {
  listener_arn = aws_lb_listener.https.arn
  priority     = 1

  action {
    type = "fixed-response"
    fixed_response {
      content_type = "text/plain"
      message_body = "Forbidden"
      status_code  = "403"
    }
  }

  condition {
    path_pattern {
      values = ["/internal", "/internal/*", "/metrics", "/docs", "/docs/*"]
    }
  }
}

# This rule lists the paths that may pass. Listing only what may not pass is not enough: the service decodes a path before
# it routes it and the load balancer need not, so that /%6detrics would pass.
resource "aws_lb_listener_rule" "app" {
  listener_arn = aws_lb_listener.https.arn
  priority     = 10

  action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.app.arn
  }

  condition {
    host_header {
      values = [var.domain_name]
    }
  }

  condition {
    path_pattern {
      values = ["/v1/*", "/health/*"]
    }
  }
}
