// Threads of a session's own. A run is over when its tasks are done, not when every worker has arrived: the caller takes tasks
// as well, and a worker that has lost its core while it holds no task is not waited for.
#pragma once

#include <cstdint>
#include <memory>

namespace sparse_engine {

// Workers have shares of neighbouring tasks, the same in every run of as many tasks, as what a core wrote last it reads
// fastest; one that is done with its own takes from the others'. Between runs they look out for the next one for some tens of
// microseconds, and sleep then; while the caller is at a series of runs, they stay awake, on other cores than its own where
// they may. The caller's subnormal and rounding modes hold in every task. After fork() the child computes serially. For one
// caller at a time.
class TaskPool {
 public:
  explicit TaskPool(int threads);  // the caller is one of them; throws std::system_error where none can be started
  ~TaskPool();
  TaskPool(const TaskPool&) = delete;
  TaskPool& operator=(const TaskPool&) = delete;

  int threads() const { return threads_; }

  // A series of runs, from the first to the last. Waking a worker takes longer than many a run: one that fell asleep between
  // two would find nothing left of the next, fall asleep again, and so on.
  class Series {
   public:
    explicit Series(TaskPool& pool) : pool_(pool) { pool_.begin_series(); }
    ~Series() { pool_.end_series(); }
    Series(const Series&) = delete;
    Series& operator=(const Series&) = delete;

   private:
    TaskPool& pool_;
  };

  // Calls body(task, worker) for every task in [0, tasks), worker in [0, threads()). `body` must not throw.
  template <class Body>
  void run(std::int64_t tasks, const Body& body) {
    run_tasks(
        tasks, [](const void* context, std::int64_t task, int worker) { (*static_cast<const Body*>(context))(task, worker); },
        &body);
  }

 private:
  struct State;
  using Function = void (*)(const void* context, std::int64_t task, int worker);
  void run_tasks(std::int64_t tasks, Function function, const void* context);
  void begin_series();
  void end_series();
  bool serial() const;  // without workers, or those are of the process that this one was forked from

  int threads_;
  std::unique_ptr<State> state_;  // null for one thread
};

}  // namespace sparse_engine
