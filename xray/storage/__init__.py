"""Bytes on S3 or a disk, and the keys to them.

May import common and config. Start with `s3`; `place` is a folder or a prefix alike.
"""
