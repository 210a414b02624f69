#include "base/core_of_caller.hpp"

#if defined(__linux__)
#include <pthread.h>
#include <sched.h>
#endif

namespace sparse_engine {

#if defined(__linux__)
int current_core() { return sched_getcpu(); }

void leave_core_of_caller(std::thread& thread) {
  const pthread_t handle = thread.native_handle();
  const int here = current_core();
  cpu_set_t allowed;
  if (here < 0 || here >= CPU_SETSIZE || pthread_getaffinity_np(handle, sizeof allowed, &allowed) != 0) return;
  if (!CPU_ISSET(here, &allowed) || CPU_COUNT(&allowed) < 2) return;
  cpu_set_t others = allowed;
  CPU_CLR(here, &others);
  // The first call takes it out of the queue at once; the second moves nothing.
  if (pthread_setaffinity_np(handle, sizeof others, &others) == 0) pthread_setaffinity_np(handle, sizeof allowed, &allowed);
}
#else
int current_core() { return -1; }

void leave_core_of_caller(std::thread&) {}
#endif

}  // namespace sparse_engine
