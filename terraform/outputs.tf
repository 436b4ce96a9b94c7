output "url" {
  description = "Where the service is."
  value       = "https://${var.domain_name}"
}

output "load_balancer_dns_name" {
  description = "What the A record points to."
  value       = aws_lb.main.dns_name
}

output "repository_url" {
  description = "Where images are pushed."
  value       = aws_ecr_repository.app.repository_url
}

output "cluster_name" {
  description = "For aws ecs --cluster."
  value       = aws_ecs_cluster.main.name
}

output "service_name" {
  description = "For aws ecs --service."
  value       = aws_ecs_service.app.name
}

output "discovery_name" {
  description = "Where tasks reach one another, and /internal and /metrics are."
  value       = "${aws_service_discovery_service.app.name}.${aws_service_discovery_private_dns_namespace.main.name}:${var.app_port}"
}

output "redis_endpoint" {
  description = "Reached from the tasks alone."
  value       = "${local.redis_endpoint}:${local.redis_port}"
}

output "secret_arns" {
  description = "Where the secrets are: whoever checks signed URLs needs MEDIA_SIGNING_SECRET, a receiver CALLBACK_SECRET, and CLOUDFRONT_PRIVATE_KEY waits to be put."
  value       = { for name, secret in aws_secretsmanager_secret.app : name => secret.arn }
}

output "connection_arn" {
  description = "The connection that waits to be authorised in the console."
  value       = aws_codeconnections_connection.source.arn
}

output "pipeline_name" {
  description = "For aws codepipeline --name."
  value       = aws_codepipeline.app.name
}

output "log_groups" {
  description = "All log groups."
  value       = { for key, group in aws_cloudwatch_log_group.main : key => group.name }
}
