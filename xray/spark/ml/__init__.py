"""The same images and networks as DataFrame and stages of Spark ML.

Start with `stages`.
"""
