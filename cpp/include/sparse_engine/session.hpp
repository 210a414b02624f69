// Runs a program: for a number of threads and the instruction set in use, at any batch size.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "sparse_engine/program.hpp"

namespace sparse_engine {

// What one node took, of all its runs since it was asked for.
struct NodeProfile {
  Index node;
  std::string kernel;       // how it runs: strategy, and what its weight is stored as
  Index runs = 0;           // of its tasks' owner: one for each image where images run apart
  double seconds = 0;       // in sum over threads where images run apart, of wall time otherwise
  Index multiply_adds = 0;  // of one run: stored weights × columns
  Index bytes = 0;          // read and written in one run, of values and stored weights
};

// Serves any number of callers at once, each with threads and memory of its own; weights are shared. What a batch size needs is
// planned at its first run and kept for the last few.
class Session {
 public:
  // `threads` of each caller; 0: as many as runtime.hpp says. Throws std::invalid_argument for a negative number.
  explicit Session(std::shared_ptr<const Program> program, int threads = 0);
  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;
  ~Session();

  // The same weights with another number of threads.
  Session with_threads(int threads) const;

  const Program& program() const;
  int threads() const;

  // Every input and output of the program at this batch size, contiguous, at their places in the program's lists. Outputs
  // overlap nothing, but one that a write_rows makes may be its own input, which nothing else reads. Throws
  // std::invalid_argument for a negative batch, std::bad_alloc.
  void run(Index batch, const std::vector<const float*>& inputs, const std::vector<float*>& outputs) const;

  // As run() for each of several sizes, with the same results: inputs and outputs of all calls lie one behind the other, each
  // whole. What treats every row for itself runs once on the rows of many calls.
  void run_several(const std::vector<Index>& sizes, const std::vector<const float*>& inputs,
                   const std::vector<float*>& outputs) const;

  // Runs as run() does and tells what each node took.
  std::vector<NodeProfile> profile(Index batch, const std::vector<const float*>& inputs,
                                   const std::vector<float*>& outputs) const;

  Index arena_bytes(Index batch) const;  // memory of one caller for intermediate values
  Index weight_bytes() const;            // memory of the weights as kernels read them, so far
  void fill_arena(bool fill);            // tests: with NaN before each run

 private:
  struct State;
  explicit Session(std::shared_ptr<State> state);
  std::shared_ptr<State> state_;
};

}  // namespace sparse_engine
