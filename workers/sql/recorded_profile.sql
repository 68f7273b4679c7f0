-- How many columns the table has of the run run_id, which was planned at predicted_at.
SELECT COUNT(*) AS columns
FROM prediction_profiles
WHERE run_id = @run_id AND predicted_at = @predicted_at
