data "aws_route53_zone" "main" {
  name         = var.hosted_zone_name
  private_zone = false
}

# An A record, and with IPv6 an AAAA record beside it.
resource "aws_route53_record" "app" {
  for_each = toset(var.ipv6_enabled ? ["A", "AAAA"] : ["A"])

  zone_id = data.aws_route53_zone.main.zone_id
  name    = var.domain_name
  type    = each.key

  alias {
    name                   = aws_lb.main.dns_name
    zone_id                = aws_lb.main.zone_id
    evaluate_target_health = true
  }

  # With stacks of one domain name in several regions: each client reaches the nearest that is healthy.
  set_identifier = var.latency_routing_enabled ? local.region : null
  dynamic "latency_routing_policy" {
    for_each = var.latency_routing_enabled ? [local.region] : []
    content {
      region = latency_routing_policy.value
    }
  }
}

# Before IPv6 there was one record without a key.
moved {
  from = aws_route53_record.app
  to   = aws_route53_record.app["A"]
}

resource "aws_acm_certificate" "main" {
  domain_name       = var.domain_name
  validation_method = "DNS"

  lifecycle {
    create_before_destroy = true
  }
}

locals {
  # One name, hence one record.
  validation = one(aws_acm_certificate.main.domain_validation_options)
}

resource "aws_route53_record" "validation" {
  zone_id         = data.aws_route53_zone.main.zone_id
  name            = local.validation.resource_record_name
  type            = local.validation.resource_record_type
  records         = [local.validation.resource_record_value]
  ttl             = 60
  allow_overwrite = true # A second stack for the same name wants the same record.
}

resource "aws_acm_certificate_validation" "main" {
  certificate_arn         = aws_acm_certificate.main.arn
  validation_record_fqdns = [aws_route53_record.validation.fqdn]
}
