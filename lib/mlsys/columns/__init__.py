"""Columns in BigQuery, Arrow and pandas: names, types, exact values, and frames of columns."""
