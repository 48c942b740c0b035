"""What users run: runners, scoring, staging, sweeps and the report, each a script."""
