"""The workflow's jobs: what each does around its work, their status, and when their results are stale."""
