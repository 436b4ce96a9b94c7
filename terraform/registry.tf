resource "aws_ecr_repository" "app" {
  name                 = var.name
  image_tag_mutability = "IMMUTABLE"
  force_delete         = !var.deletion_protection

  image_scanning_configuration {
    scan_on_push = true
  }
}

resource "aws_ecr_lifecycle_policy" "app" {
  repository = aws_ecr_repository.app.name

  policy = jsonencode({
    rules = [{
      rulePriority = 1
      description  = "Keep the latest 20 images, which are as many ways back"
      selection    = { tagStatus = "any", countType = "imageCountMoreThan", countNumber = 20 }
      action       = { type = "expire" }
    }]
  })
}

# Where Terraform and the pipeline meet: the pipeline writes which image runs, the task definition reads it. So neither
# undoes the other: a change of size keeps the image that was deployed.
resource "aws_ssm_parameter" "image_tag" {
  name           = "/${var.name}/image-tag"
  description    = "Tag of the image that runs, written by the pipeline"
  type           = "String"
  insecure_value = "none-yet"

  lifecycle {
    ignore_changes = [insecure_value]
  }
}
