"""Stand-ins on this machine: drawn X-rays, an S3 server, a Spark cluster.

For the demo, the tests and trying things out; may import common. Start with `s3`.
"""
