"""The product's settings, with as many worker processes in the cluster as a measurement wants."""

import os

from project.settings import *  # noqa: F403
from project.settings import Q_CLUSTER as _CLUSTER

Q_CLUSTER = {**_CLUSTER, "workers": int(os.environ["BENCH_CLUSTER_WORKERS"]), "retry": 20_000}
