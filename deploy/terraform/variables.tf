variable "name" {
  description = "Name of the cluster, and beginning of all other names."
  type        = string
  default     = "blurline"

  # What ElastiCache takes, which is the strictest of those that are named after it.
  validation {
    condition     = can(regex("^[a-z](-?[a-z0-9])*$", var.name)) && length(var.name) <= 40
    error_message = "The name wants at most 40 small letters, digits and single hyphens, a letter first."
  }
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
  description = "Letters of the region's availability zones, three at least: one for each Redis."
  type        = list(string)
  default     = ["a", "b", "c"]

  validation {
    condition     = length(var.zones) >= 3 && length(var.zones) <= 8
    error_message = "Three Redis pods want three zones; there are addresses for eight."
  }

  validation {
    condition     = alltrue([for letter in var.zones : can(regex("^[a-z]$", letter))])
    error_message = "Zones are named by their letters, such as \"a\"."
  }
}

variable "cidr" {
  description = "Addresses of the VPC, /16 to /20."
  type        = string
  default     = "10.20.0.0/16"

  validation {
    condition     = can(cidrhost(var.cidr, 0)) && can(regex("/(16|17|18|19|20)$", var.cidr))
    error_message = "A VPC has a /16 at most, and its subnets want a /20 at least."
  }
}

variable "kubernetes_version" {
  description = "Version of the cluster."
  type        = string
  default     = "1.35"
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
