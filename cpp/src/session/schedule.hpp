// A program at one batch size and number of threads: steps, and where each finds its operands.
//
// Steps come in segments. Where a batch has an image for every thread, each runs through a whole segment on one thread, and no
// thread waits for another in between; elsewhere a step's tasks are shared by all threads.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "ops/plan.hpp"
#include "session/placement.hpp"
#include "session/steps.hpp"
#include "sparse_engine/session.hpp"

namespace sparse_engine {

struct Step {
  std::shared_ptr<const Plan> plan;
  std::shared_ptr<const Matrix> weight, expansion;  // that the plan reads
  Place x, second, third, fourth, residual, y;
  Place workspace;
  const float* bias = nullptr;
  Activation activation = Activation::none;
  std::size_t node = 0;
  std::string kernel;
  Index multiply_adds = 0, bytes = 0;
};

struct Segment {
  bool apart;  // images run apart
  std::vector<Step> steps;
};

struct Schedule {
  std::vector<Index> sizes;  // of its calls
  Index batch;               // their sum
  int threads;
  std::vector<Segment> segments;
  bool shares_work = false;  // anything among several threads
  Index shared_floats = 0;   // one block for all threads
  Index local_floats = 0;    // and one for each
  // Another for each, in which every step has its worker's scratch: the same lines for all of them stay in that worker's
  // caches.
  Index scratch_floats = 0;
  Index floats() const { return shared_floats + threads * (local_floats + scratch_floats); }
};

// `batch` at least 1. Throws std::invalid_argument past 63 bits, std::bad_alloc.
Schedule make_schedule(const Kernels& table, Weights& weights, Index batch, int threads);

// Of several calls, one for each of `sizes`, whose operands lie one behind the other. None where they have to run one by one.
std::optional<Schedule> make_schedule(const Kernels& table, Weights& weights, const std::vector<Index>& sizes, int threads);

}  // namespace sparse_engine
