output "url" {
  description = "Address of the service."
  value       = "https://${var.domain_name}"
}

output "load_balancer_dns_name" {
  description = "Name of the load balancer, to which the DNS records point."
  value       = aws_lb.main.dns_name
}

output "repository_url" {
  description = "Repository that the pipeline pushes images to."
  value       = local.repository.url
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
  description = "Name and port by which tasks reach one another, and at which /internal and /metrics are."
  value       = "${aws_service_discovery_service.app.name}.${aws_service_discovery_private_dns_namespace.main.name}:${var.operator_port}"
}

output "tasks_security_group_id" {
  description = "Security group of the tasks. A client in this group reaches /internal and /metrics."
  value       = aws_security_group.ecs.id
}

output "task_subnet_ids" {
  description = "Subnets that the tasks run in."
  value       = local.network.task_subnet_ids
}

output "run_internal_command" {
  description = "Command line that calls an endpoint under /internal from a task of its own. The shell variables METHOD and ENDPOINT say which: README.md."
  value = join(" ", [
    "aws ecs run-task --region ${local.region} --cluster ${aws_ecs_cluster.main.name} --launch-type FARGATE",
    "--task-definition ${aws_ecs_task_definition.app.family}",
    "--network-configuration '${jsonencode({ awsvpcConfiguration = {
      subnets        = local.network.task_subnet_ids
      securityGroups = [aws_security_group.ecs.id]
      assignPublicIp = local.network.tasks_have_public_address ? "ENABLED" : "DISABLED"
    } })}'",
    "--overrides '${replace(replace(jsonencode({ containerOverrides = [{
      name    = local.container_name
      command = ["node", "-e", local.call_internal]
      environment = [
        { name = "METHOD", value = "@METHOD@" },
        { name = "URL", value = "http://${aws_service_discovery_service.app.name}.${aws_service_discovery_private_dns_namespace.main.name}:${var.operator_port}/internal/@ENDPOINT@" },
      ]
    }] }), "@METHOD@", "'\"$METHOD\"'"), "@ENDPOINT@", "'\"$ENDPOINT\"'")}'",
  ])
}

locals {
  # Runs in the image, which has Node and no curl, with the token that every task has. No single quote: the shell quotes it.
  call_internal = join("", [
    "fetch(process.env.URL, { method: process.env.METHOD, headers: { authorization: `Bearer $${process.env.INTERNAL_API_TOKEN}` } })",
    ".then(async (reply) => { console.log(reply.status, await reply.text()); process.exit(reply.ok ? 0 : 1); })",
  ])
}

output "redis_endpoint" {
  description = "Address of Redis. Only tasks reach it."
  value       = "${local.redis_endpoint}:${local.redis_port}"
}

output "secret_arns" {
  description = "Secrets. Servers that check signed URLs need MEDIA_SIGNING_SECRET, receivers of callbacks CALLBACK_SECRET. A person puts CLOUDFRONT_PRIVATE_KEY."
  value       = { for name, secret in aws_secretsmanager_secret.app : name => secret.arn }
}

output "connection_arn" {
  description = "Connection to GitHub that a person authorises in the console."
  value       = one(aws_codeconnections_connection.source[*].arn)
}

output "pipeline_name" {
  description = "For aws codepipeline --name."
  value       = one(aws_codepipeline.app[*].name)
}

output "images_location" {
  description = "Where the bill of materials and the digests of each image are."
  value       = local.own_pipeline ? "s3://${aws_s3_bucket.artifacts[0].bucket}/images" : null
}

output "alarm_topic_arn" {
  description = "Topic of all alarms, for more subscriptions: a pager, a chat."
  value       = one(aws_sns_topic.alarms[*].arn)
}

output "log_groups" {
  description = "All log groups."
  value       = { for key, group in aws_cloudwatch_log_group.main : key => group.name }
}
