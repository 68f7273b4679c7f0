"""Take a planned run to its end: in the service, by the tasks of a Cloud Run job, or by Beam.

`perform` chooses the engine, and each engine calls `run.execute`. The engine changes how long a run
takes, and nothing else: all of them write the same parts. `turns` keeps incremental runs from
publishing the same rows, `unrecorded` finishes what a process that died left.
"""
