-- Removes the columns of the run run_id, planned at predicted_at: it is undone, and no run is
-- compared with it.
DELETE FROM prediction_profiles
WHERE run_id = @run_id AND predicted_at = @predicted_at
