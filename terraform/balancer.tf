resource "aws_lb" "main" {
  name                       = var.name
  load_balancer_type         = "application"
  security_groups            = [aws_security_group.alb.id]
  subnets                    = [for subnet in aws_subnet.public : subnet.id]
  drop_invalid_header_fields = true
  # The service takes the last address in X-Forwarded-For that is none of the VPC's for the client's; what stands before
  # it, a client may have made up. X-Forwarded-Proto is overwritten; X-Forwarded-Host is passed on as a client sends it,
  # who thereby changes the URLs that it is given itself, as it may by Host.
  xff_header_processing_mode = "append"
  enable_deletion_protection = var.deletion_protection
  # Shorter than the service keeps a connection open, or requests meet its end and are answered 502; and longer than an
  # event stream is silent. tests/timeouts.json says the same, and is held against the service.
  idle_timeout = 60

  depends_on = [aws_internet_gateway.main]
}

# No stickiness: all state is in Redis.
resource "aws_lb_target_group" "app" {
  name_prefix          = substr(var.name, 0, 6) # Six is the most.
  vpc_id               = aws_vpc.main.id
  target_type          = "ip"
  protocol             = "HTTP"
  port                 = var.app_port
  deregistration_delay = 30

  health_check {
    path                = local.health_path
    matcher             = "200"
    interval            = 15
    timeout             = 5
    healthy_threshold   = 2
    unhealthy_threshold = 3
  }

  # Another port makes another group, and one that a rule still names cannot go.
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

# For clients nothing of this exists. Within the VPC it is reached by the discovery name.
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

# Names what may pass as well: the service decodes a path before it routes it and the load balancer need not, so that
# /%6detrics would pass a rule that names only what may not.
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
