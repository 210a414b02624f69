# GoogleTest (BSD-3-Clause), 1.12 or newer: from the system (Debian: libgtest-dev). Tests only.
find_package(GTest 1.12 REQUIRED)
