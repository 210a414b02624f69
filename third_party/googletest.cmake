# GoogleTest (BSD-3-Clause), 1.12 or newer: from the system (Debian: libgtest-dev). Tests only.
# Targets without such a library, or builds that want it instrumented, compile its sources (Debian: googletest).
set(SPARSE_ENGINE_GTEST_SOURCE "" CACHE PATH "GoogleTest sources to compile instead, such as /usr/src/googletest")
if(NOT SPARSE_ENGINE_GTEST_SOURCE)
  find_package(GTest 1.12 REQUIRED)
elseif(NOT TARGET GTest::gtest_main)
  set(BUILD_GMOCK OFF)
  set(INSTALL_GTEST OFF)
  add_subdirectory(${SPARSE_ENGINE_GTEST_SOURCE} ${CMAKE_BINARY_DIR}/googletest EXCLUDE_FROM_ALL SYSTEM)
endif()
