"""Where a run's rows are scored: in the service, or by the tasks of a Cloud Run job.

The engine changes how long a run takes, and nothing else: both write the same parts.
"""
