#include "sparse_engine/session.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <limits>
#include <list>
#include <mutex>
#include <optional>

#include "base/aligned_array.hpp"
#include "base/check.hpp"
#include "base/registry.hpp"
#include "base/task_pool.hpp"
#include "base/tuning.hpp"
#include "session/row_numbers.hpp"
#include "session/schedule.hpp"
#include "sparse_engine/runtime.hpp"

namespace sparse_engine {
namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// What one caller needs: threads, memory, and the schedules of the last batch sizes.
class Context {
 public:
  explicit Context(int threads) : pool_(threads) {}

  const Schedule& schedule(Weights& weights, Index batch) { return *schedule(weights, std::vector<Index>{batch}); }

  // Of several calls, one behind the other; null where they have to run one by one.
  const Schedule* schedule(Weights& weights, const std::vector<Index>& sizes) {
    const Kernels& table = kernels();
    for (auto i = schedules_.begin(); i != schedules_.end(); ++i)
      if (i->schedule.sizes == sizes && i->table == &table) {
        schedules_.splice(schedules_.begin(), schedules_, i);
        return &i->schedule;
      }
    std::optional<Schedule> made = make_schedule(table, weights, sizes, pool_.threads());
    if (!made) return nullptr;
    schedules_.push_front({&table, *std::move(made)});
    if (schedules_.size() > kSchedules) schedules_.pop_back();
    // The arena is as large as the schedules that are kept need; none of them counts on what another left there.
    Index floats = 0;
    for (const Kept& kept : schedules_) floats = std::max(floats, kept.schedule.floats());
    if (floats > static_cast<Index>(arena_.size()) || floats * 2 < static_cast<Index>(arena_.size())) {
      arena_ = Array<float>();
      arena_.resize(static_cast<std::size_t>(floats));
    }
    return &schedules_.front().schedule;
  }

  void run(const Program& program, const Schedule& s, const std::vector<const float*>& inputs,
           const std::vector<float*>& outputs, bool fill, std::vector<std::atomic<std::int64_t>>* nanoseconds) {
    if (fill) std::fill(arena_.begin(), arena_.end(), std::numeric_limits<float>::quiet_NaN());
    std::optional<TaskPool::Series> series;
    if (s.shares_work) series.emplace(pool_);
    const auto scratch = [&](int worker) {
      return arena_.data() + s.shared_floats + s.threads * s.local_floats + worker * s.scratch_floats;
    };
    std::size_t first = 0;
    for (const Segment& segment : s.segments) {
      const auto at = [&](const Place& place, Index image, int worker) -> float* {
        const Index offset = place.offset + image * place.item;
        switch (place.kind) {
          case Place::Kind::none: return nullptr;
          case Place::Kind::local: return arena_.data() + s.shared_floats + worker * s.local_floats + offset;
          case Place::Kind::shared: return arena_.data() + offset;
          // Read only: steps write to none of them.
          case Place::Kind::input: return const_cast<float*>(inputs[static_cast<std::size_t>(place.index)]) + offset;
          case Place::Kind::constant:
            return const_cast<float*>(program.constants()[static_cast<std::size_t>(place.index)].data()) + place.offset;
          case Place::Kind::output: return outputs[static_cast<std::size_t>(place.index)] + offset;
        }
        return nullptr;
      };
      const auto operands = [&](const Step& step, Index image, int worker) -> Operands {
        return {.x = at(step.x, image, worker),
                .y = at(step.y, image, worker),
                .epilogue = {.bias = step.bias, .residual = at(step.residual, image, worker), .activation = step.activation},
                .second = at(step.second, image, worker),
                .third = at(step.third, image, worker),
                .fourth = at(step.fourth, image, worker)};
      };
      const auto timed = [&](std::size_t index, double begin) {
        if (nanoseconds) (*nanoseconds)[first + index] += static_cast<std::int64_t>((now() - begin) * 1e9);
      };
      if (segment.apart) {
        pool_.run(s.batch, [&](std::int64_t image, int worker) {
          for (std::size_t i = 0; i < segment.steps.size(); ++i) {
            const double begin = nanoseconds ? now() : 0;
            const Step& step = segment.steps[i];
            const Operands o = operands(step, image, worker);
            float* const workspace = at(step.workspace, image, worker);
            step.plan->prepare(o, workspace);
            for (Index task = 0; task < step.plan->tasks(); ++task) step.plan->run_task(task, o, workspace, scratch(worker));
            timed(i, begin);
          }
        });
      } else {
        for (std::size_t i = 0; i < segment.steps.size(); ++i) {
          const double begin = nanoseconds ? now() : 0;
          const Step& step = segment.steps[i];
          const Operands o = operands(step, 0, 0);
          float* const workspace = at(step.workspace, 0, 0);
          step.plan->prepare(o, workspace);
          if (step.plan->threads() == 1) {
            for (Index task = 0; task < step.plan->tasks(); ++task) step.plan->run_task(task, o, workspace, scratch(0));
          } else {
            pool_.run(step.plan->tasks(),
                      [&](std::int64_t task, int worker) { step.plan->run_task(task, o, workspace, scratch(worker)); });
          }
          timed(i, begin);
        }
      }
      first += segment.steps.size();
    }
  }

 private:
  static constexpr std::size_t kSchedules = 16;  // lengths of sequences come and go, and layouts with them

  struct Kept {
    const Kernels* table;
    Schedule schedule;
  };

  TaskPool pool_;
  std::list<Kept> schedules_;  // the last used first
  Array<float> arena_;
};

}  // namespace

struct Session::State {
  State(std::shared_ptr<Weights> w, int n)
      : weights(std::move(w)), row_numbers(row_numbers_of(weights->program())), threads(n) {}

  // A context for one call; back among the idle ones when the call is over, however it ends.
  class Lease {
   public:
    explicit Lease(State& state) : state_(state) {
      {
        const std::lock_guard lock(state.mutex);
        if (!state.idle.empty()) {
          context_ = std::move(state.idle.back());
          state.idle.pop_back();
        }
      }
      if (!context_) context_ = std::make_unique<Context>(state.threads);
    }
    ~Lease() {
      const std::lock_guard lock(state_.mutex);
      state_.idle.push_back(std::move(context_));
    }
    Context& operator*() const { return *context_; }
    Context* operator->() const { return context_.get(); }

   private:
    State& state_;
    std::unique_ptr<Context> context_;
  };

  void check_call(Index batch, const std::vector<const float*>& inputs, const std::vector<float*>& outputs) const {
    const Program& program = weights->program();
    check(batch >= 0, "batch is ", batch, "; it must not be negative");
    check(inputs.size() == program.inputs().size(), "the program has ", program.inputs().size(), " inputs; ", inputs.size(),
          " were given");
    check(outputs.size() == program.outputs().size(), "the program has ", program.outputs().size(), " outputs; ",
          outputs.size(), " were given");
    check_row_numbers(program, row_numbers, batch, inputs);
  }

  const std::shared_ptr<Weights> weights;
  const std::vector<RowNumbers> row_numbers;
  const int threads;
  std::atomic<bool> fill{false};
  std::mutex mutex;
  std::vector<std::unique_ptr<Context>> idle;  // guarded by mutex
};

Session::Session(std::shared_ptr<State> state) : state_(std::move(state)) {}
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;
Session::~Session() = default;

namespace {

struct Call {
  Index size;
  std::vector<const float*> inputs;
  std::vector<float*> outputs;
};

// Calls that run at once.
struct Group {
  std::vector<Index> sizes;
  std::vector<Call> calls;
};

// In the order given, without those of size 0, as many at once as keep what they compute in the cache.
std::vector<Group> grouped(const Program& program, const std::vector<Index>& sizes, std::vector<const float*> inputs,
                           std::vector<float*> outputs) {
  std::vector<Group> groups;
  Index sum = 0;
  for (const Index size : sizes) {
    check(size >= 0, "a size is ", size, "; it must not be negative");
    if (size > 0) {
      if (groups.empty() || sum + size > Tuning::session.rows_together) {
        groups.push_back({});
        sum = 0;
      }
      sum += size;
      groups.back().sizes.push_back(size);
      groups.back().calls.push_back({size, inputs, outputs});
    }
    for (std::size_t i = 0; i < inputs.size() && i < program.inputs().size(); ++i)
      inputs[i] += program.elements(program.inputs()[i], size);
    for (std::size_t i = 0; i < outputs.size() && i < program.outputs().size(); ++i)
      outputs[i] += program.elements(program.outputs()[i], size);
  }
  return groups;
}

int checked_threads(int threads) {
  check(threads >= 0, "threads is ", threads, "; it must not be negative (0: as many as the runtime says)");
  return threads == 0 ? num_threads() : threads;
}

}  // namespace

Session::Session(std::shared_ptr<const Program> program, int threads)
    : state_(std::make_shared<State>(std::make_shared<Weights>(std::move(program)), checked_threads(threads))) {}

Session Session::with_threads(int threads) const {
  return Session(std::make_shared<State>(state_->weights, checked_threads(threads)));
}

const Program& Session::program() const { return state_->weights->program(); }
int Session::threads() const { return state_->threads; }

void Session::run(Index batch, const std::vector<const float*>& inputs, const std::vector<float*>& outputs) const {
  state_->check_call(batch, inputs, outputs);
  if (batch == 0) return;
  const State::Lease context(*state_);
  const Schedule& schedule = context->schedule(*state_->weights, batch);
  context->run(program(), schedule, inputs, outputs, state_->fill, nullptr);
}

void Session::run_several(const std::vector<Index>& sizes, const std::vector<const float*>& inputs,
                          const std::vector<float*>& outputs) const {
  std::vector<Group> groups = grouped(program(), sizes, inputs, outputs);
  for (const Group& group : groups)
    for (const Call& call : group.calls) state_->check_call(call.size, call.inputs, call.outputs);
  const State::Lease context(*state_);
  for (const Group& group : groups) {
    if (const Schedule* joined = context->schedule(*state_->weights, group.sizes)) {
      context->run(program(), *joined, group.calls.front().inputs, group.calls.front().outputs, state_->fill, nullptr);
      continue;
    }
    for (const Call& call : group.calls)
      context->run(program(), context->schedule(*state_->weights, call.size), call.inputs, call.outputs, state_->fill, nullptr);
  }
}

std::vector<NodeProfile> Session::profile(Index batch, const std::vector<const float*>& inputs,
                                          const std::vector<float*>& outputs) const {
  state_->check_call(batch, inputs, outputs);
  check(batch > 0, "batch is 0; there is nothing to time");
  const State::Lease context(*state_);
  const Schedule& schedule = context->schedule(*state_->weights, batch);
  std::size_t steps = 0;
  for (const Segment& segment : schedule.segments) steps += segment.steps.size();
  std::vector<std::atomic<std::int64_t>> nanoseconds(steps);
  context->run(program(), schedule, inputs, outputs, state_->fill, &nanoseconds);
  std::vector<NodeProfile> result;
  std::size_t i = 0;
  for (const Segment& segment : schedule.segments)
    for (const Step& step : segment.steps)
      result.push_back({.node = static_cast<Index>(step.node),
                        .kernel = step.kernel,
                        .runs = segment.apart ? batch : 1,
                        .seconds = static_cast<double>(nanoseconds[i++]) * 1e-9,
                        .multiply_adds = step.multiply_adds,
                        .bytes = step.bytes});
  return result;
}

Index Session::arena_bytes(Index batch) const {
  check(batch >= 1, "batch is ", batch, "; it must be at least 1");
  const State::Lease context(*state_);
  return context->schedule(*state_->weights, batch).floats() * static_cast<Index>(sizeof(float));
}

Index Session::weight_bytes() const { return state_->weights->bytes(); }
void Session::fill_arena(bool fill) { state_->fill = fill; }

}  // namespace sparse_engine
