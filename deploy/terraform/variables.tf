variable "name" {
  description = "Name of the cluster, and beginning of all other names."
  type        = string
  default     = "blurline"
}

variable "region" {
  description = "Region of everything."
  type        = string
  default     = "eu-central-1"
}

variable "bucket" {
  description = "Name of the bucket for pictures and metadata; unique in all of S3."
  type        = string
}

variable "zones" {
  description = "Availability zones, three at least: one for each Redis."
  type        = list(string)
  default     = ["eu-central-1a", "eu-central-1b", "eu-central-1c"]

  validation {
    condition     = length(var.zones) >= 3
    error_message = "Three Redis pods want three zones."
  }
}

variable "cidr" {
  description = "Addresses of the VPC, at least a /20."
  type        = string
  default     = "10.20.0.0/16"
}

variable "kubernetes_version" {
  description = "Version of the cluster."
  type        = string
  default     = "1.33"
}

variable "admin_cidrs" {
  description = "Networks from which the cluster's API may be asked; none: from inside the VPC only."
  type        = list(string)
  default     = []
}

variable "nodes" {
  description = "Nodes for API, Redis and workers. The default kinds compute bf16 (AMX)."
  type = object({
    types   = list(string)
    least   = number
    desired = number
    most    = number
  })
  default = { types = ["m7i.2xlarge"], least = 3, desired = 3, most = 8 }
}

variable "gpu_nodes" {
  description = "Nodes with an NVIDIA GPU for worker-gpu."
  type = object({
    types   = list(string)
    least   = number
    desired = number
    most    = number
  })
  default = { types = ["g6.2xlarge"], least = 0, desired = 0, most = 4 }
}

variable "keep_originals_days" {
  description = "Days after which originals and their keys are removed; 0: never."
  type        = number
  default     = 0
}

variable "keep_results_days" {
  description = "Days after which redacted pictures are removed; 0: never."
  type        = number
  default     = 0
}

variable "keep_metadata_days" {
  description = "Days after which records and certificates are removed; 0: never."
  type        = number
  default     = 0
}

variable "elasticache" {
  description = "Whether the queue lives in ElastiCache in place of the Redis pods."
  type        = bool
  default     = false
}
