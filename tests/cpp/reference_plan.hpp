// What every plan promises, whatever its strategy.
#pragma once

#include <cstdlib>
#include <new>
#include <thread>
#include <vector>

#include "ops/plan.hpp"
#include "reference.hpp"

namespace sparse_engine::reference {

// Calls of operator new by this thread.
inline thread_local Index allocations = 0;

inline void* counted(std::size_t bytes, std::size_t alignment) {
  ++allocations;
  void* memory = std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

// A workspace of just the size asked for, whose ends are watched and whose contents are no numbers.
class WatchedWorkspace {
 public:
  explicit WatchedWorkspace(const Plan& plan)
      : memory_(std::vector<float>(static_cast<std::size_t>(plan.workspace_bytes()) / sizeof(float), kNaN), Flush::end) {}
  float* data() { return memory_.data(); }
  bool untouched_around() const { return memory_.untouched(); }

 private:
  Guarded<float> memory_;
};

// Runs `plan` as a whole, task by task from the last on, and twice at once: always the same bits, which are returned.
inline std::vector<float> checked_run(const Plan& plan, const Operands& operands, Index outputs) {
  const auto run_into = [&](std::vector<float>& y) {
    y.assign(outputs, kNaN);
    WatchedWorkspace workspace(plan);
    Operands o = operands;
    o.y = y.data();
    const Index before = allocations;
    plan.run(o, workspace.data());
    // Threads of the standard library are made for every call.
    EXPECT_TRUE(allocations == before || (plan.threads() > 1 && thread_backend() == "std"));
    EXPECT_TRUE(workspace.untouched_around());
  };
  std::vector<float> y, again, other, one_by_one(outputs, kNaN);
  run_into(y);

  WatchedWorkspace workspace(plan);
  Operands o = operands;
  o.y = one_by_one.data();
  const Index before = allocations;
  plan.prepare(o, workspace.data());
  for (Index task = plan.tasks() - 1; task >= 0; --task)
    plan.run_task(task, o, workspace.data(), plan.own_part(workspace.data(), static_cast<int>(task % plan.threads())));
  EXPECT_EQ(allocations, before);
  EXPECT_TRUE(workspace.untouched_around());
  expect_same_bits(one_by_one, y);

  std::thread beside([&] {
    for (int i = 0; i < 3; ++i) run_into(other);
  });
  for (int i = 0; i < 3; ++i) run_into(again);
  beside.join();
  expect_same_bits(again, y);
  expect_same_bits(other, y);
  return y;
}

}  // namespace sparse_engine::reference

// Not inlined: of a pair of which the compiler sees through one half it thinks that they do not belong together.
[[gnu::noinline]] void* operator new(std::size_t bytes) { return sparse_engine::reference::counted(bytes, 16); }
[[gnu::noinline]] void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return sparse_engine::reference::counted(bytes, static_cast<std::size_t>(alignment));
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
