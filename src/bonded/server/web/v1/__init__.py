"""Google's REST: Artifact Registry v1, Resource Manager v1, IAM v1 (gar.md §4, §6.7)."""
