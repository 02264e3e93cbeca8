# A managed queue in place of the Redis pods. It has no log of appended commands: what it loses when
# all its nodes are gone at once is lost.

resource "aws_elasticache_subnet_group" "queue" {
  count      = var.elasticache ? 1 : 0
  name       = var.name
  subnet_ids = [for subnet in aws_subnet.private : subnet.id]
}

# An evicted key would be a lost job.
resource "aws_elasticache_parameter_group" "queue" {
  count  = var.elasticache ? 1 : 0
  name   = var.name
  family = "valkey8"

  parameter {
    name  = "maxmemory-policy"
    value = "noeviction"
  }
}

resource "aws_security_group" "queue" {
  count       = var.elasticache ? 1 : 0
  name        = "${var.name}-queue"
  description = "The queue, reached from the nodes of the cluster alone"
  vpc_id      = aws_vpc.this.id
}

resource "aws_vpc_security_group_ingress_rule" "queue" {
  count                        = var.elasticache ? 1 : 0
  description                  = "Valkey"
  security_group_id            = aws_security_group.queue[0].id
  referenced_security_group_id = aws_eks_cluster.this.vpc_config[0].cluster_security_group_id
  ip_protocol                  = "tcp"
  from_port                    = 6379
  to_port                      = 6379
}

resource "aws_elasticache_replication_group" "queue" {
  count                      = var.elasticache ? 1 : 0
  replication_group_id       = var.name
  description                = "The queue of ${var.name}"
  engine                     = "valkey"
  engine_version             = "8.0"
  node_type                  = "cache.m7g.large"
  num_cache_clusters         = 3
  automatic_failover_enabled = true
  multi_az_enabled           = true
  subnet_group_name          = aws_elasticache_subnet_group.queue[0].name
  parameter_group_name       = aws_elasticache_parameter_group.queue[0].name
  security_group_ids         = [aws_security_group.queue[0].id]
  at_rest_encryption_enabled = true
  kms_key_id                 = aws_kms_key.this.arn
  transit_encryption_enabled = true
}
