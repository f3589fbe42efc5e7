"""What each job of the workflow does around its work, how jobs stand, and what makes their results stale."""
