r"""Train with Elephas on Spark: local[N], a standalone cluster, or YARN.

Run it with python, or with spark-submit and any of its options:

    spark-submit --num-executors 2 --executor-cores 4 --driver-memory 5G \
        experiments/elephas_spark.py --config my.yaml
"""

import sys

from xray.runners.cli import main

if __name__ == "__main__":
    sys.exit(main("elephas", __doc__))
