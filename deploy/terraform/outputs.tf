output "cluster" {
  description = "Name of the cluster, for `aws eks update-kubeconfig --name`."
  value       = aws_eks_cluster.this.name
}

output "registry" {
  description = "Where images are pushed to."
  value       = local.registry
}

output "bucket" {
  description = "S3_BUCKET."
  value       = aws_s3_bucket.photos.id
}

output "roles" {
  description = "Roles of the service accounts."
  value       = { for name in keys(local.writes) : name => aws_iam_role.pod[name].arn }
}

output "autoscaler_role" {
  description = "Role of the account `cluster-autoscaler` in `kube-system`."
  value       = aws_iam_role.pod["autoscaler"].arn
}

output "redis_url" {
  description = "REDIS_URL of ElastiCache; empty where the queue lives in pods."
  value       = local.redis_url
}

output "overlay" {
  description = "A kustomization on top of deploy/k8s/overlays/eks with this account's names."
  value = templatefile("${path.module}/overlay.yaml.tftpl", {
    registry   = local.registry
    region     = var.region
    bucket     = aws_s3_bucket.photos.id
    role_arns  = { for name in keys(local.writes) : name => aws_iam_role.pod[name].arn }
    originals  = var.keep_originals_days
    results    = var.keep_results_days
    metadata   = var.keep_metadata_days
    redis_url  = local.redis_url
    redis_host = local.redis_host
    cidr       = var.cidr
  })
}

locals {
  registry   = "${data.aws_caller_identity.current.account_id}.dkr.ecr.${var.region}.amazonaws.com"
  redis_host = one(aws_elasticache_replication_group.queue[*].primary_endpoint_address)
  redis_url  = var.elasticache ? "rediss://${local.redis_host}:6379/0" : ""
}
