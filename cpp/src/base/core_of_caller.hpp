// Threads that wait where their caller computes.
#pragma once

#include <thread>

namespace sparse_engine {

// The core that computes this, −1 where it cannot be told.
int current_core();

// If `thread` lies in the queue of the core that calls this, it goes to another of those that it may run on. The scheduler puts
// a thread there that is woken while the other cores are busy for a moment, and leaves it there while its waker computes.
// Which cores it may run on is afterwards as before, and where that is one or not to be had nothing happens.
void leave_core_of_caller(std::thread& thread);

}  // namespace sparse_engine
