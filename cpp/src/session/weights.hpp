// The weights of a program as kernels read them, made when a schedule first asks and shared by all callers.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "sparse_engine/matrix.hpp"
#include "sparse_engine/program.hpp"

namespace sparse_engine {

enum class WeightFormat { csr, bitmask, strips2, strips4, blocks8 };

const char* name_of(WeightFormat format);

// What a weight of this density is stored as for products with so many columns, whose rows come in groups of `group_rows`.
// Nearly dense ones are strips with every block kept: rows that share loads of X.
WeightFormat choose_format(double density, Index columns, Index group_rows);

class Weights {
 public:
  explicit Weights(std::shared_ptr<const Program> program) : program_(std::move(program)) {}

  const Program& program() const { return *program_; }
  double density(Index weight) const;
  std::shared_ptr<const Matrix> get(Index weight, WeightFormat format);
  Index bytes();

 private:
  const std::shared_ptr<const Program> program_;
  std::mutex mutex_;
  std::map<std::pair<Index, WeightFormat>, std::shared_ptr<const Matrix>> made_;  // guarded by mutex_
};

}  // namespace sparse_engine
