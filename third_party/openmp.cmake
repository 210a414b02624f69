# OpenMP: the compiler's own runtime (GCC: libgomp, GPL-3.0 with the runtime exception), linked dynamically so that a process
# with torch in it has one (clang has libomp, a second one). Found with CMake; not needed when SPARSE_ENGINE_THREADS is std.
if(SPARSE_ENGINE_THREADS STREQUAL "openmp" AND NOT TARGET OpenMP::OpenMP_CXX)
  find_package(OpenMP COMPONENTS CXX)
  if(NOT OpenMP_CXX_FOUND)
    message(FATAL_ERROR "${CMAKE_CXX_COMPILER} finds no OpenMP: install it (for clang libomp-dev), or -DSPARSE_ENGINE_THREADS=std")
  endif()
endif()
