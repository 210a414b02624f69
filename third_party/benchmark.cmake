# Google Benchmark (Apache-2.0), 1.7 or newer: from the system (Debian: libbenchmark-dev). Benchmarks only.
find_package(benchmark 1.7 REQUIRED)
