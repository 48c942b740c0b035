"""Train one chest X-ray model three ways and compare time, cost and accuracy.

Importing this package imports neither tensorflow, keras, pyspark nor boto3.
"""
