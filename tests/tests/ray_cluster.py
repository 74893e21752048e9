"""A Ray cluster of several nodes on one machine, for tests/tests/ray.rs.

Prints its address; then does what each line of standard input says: `add CPUS` joins a node and
prints its number, `remove NUMBER` kills one. It ends, with every process that it started, at the end
of its input.
"""

import sys

from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
nodes = []
print(cluster.address, flush=True)
try:
    for line in sys.stdin:
        command, argument = line.split()
        if command == "add":
            nodes.append(cluster.add_node(num_cpus=int(argument)))
            print(len(nodes) - 1, flush=True)
        elif command == "remove":
            cluster.remove_node(nodes[int(argument)], allow_graceful=False)
            print("removed", flush=True)
finally:
    cluster.shutdown()
