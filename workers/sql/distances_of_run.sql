-- How far each column of a run is from the runs before it.
SELECT role, column_name, previous_run_id, distance_previous, week_run_id, distance_week
FROM prediction_drift
WHERE run_id = @run_id
