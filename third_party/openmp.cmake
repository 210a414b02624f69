# OpenMP: the compiler's own runtime (GCC: libgomp, GPL-3.0 with the runtime exception), linked dynamically so that a process
# with torch in it has one. Found with CMake's module; not needed when SPARSE_ENGINE_THREADS is std.
if(SPARSE_ENGINE_THREADS STREQUAL "openmp" AND NOT TARGET OpenMP::OpenMP_CXX)
  find_package(OpenMP REQUIRED COMPONENTS CXX)
endif()
