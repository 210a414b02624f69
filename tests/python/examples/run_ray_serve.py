"""Serves examples/serving/ray_serve_app.py as `serve run` does, on a port of the caller's: FILE PORT FOLDER."""

import sys

import ray
import ray_serve_app
from ray import serve

file, port, folder = sys.argv[1:]
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1", _temp_dir=folder)
serve.start(http_options={"host": "127.0.0.1", "port": int(port)})
serve.run(ray_serve_app.build({"model": file, "replicas": "2"}), blocking=True, logging_config={"enable_access_log": False})
