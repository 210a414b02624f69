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

// What products a weight is in: with so many columns, `lanes` to a vector, its rows in groups of `group_rows`. `cached`: it is
// still in a cache when it is read again.
struct ProductShape {
  Index columns, lanes, group_rows;
  bool cached = false;
};

// What a weight of this density is stored as. Dense ones are strips or blocks with every block kept: rows that share loads of
// X.
WeightFormat choose_format(double density, const ProductShape& shape);

class Weights {
 public:
  explicit Weights(std::shared_ptr<const Program> program);

  const Program& program() const { return *program_; }
  double density(Index weight) const;
  // Whether all of them, zeros and all, stay in the last cache from one run to the next.
  bool cached() const { return cached_; }
  std::shared_ptr<const Matrix> get(Index weight, WeightFormat format);
  Index bytes();

 private:
  const std::shared_ptr<const Program> program_;
  const bool cached_;
  std::mutex mutex_;
  std::map<std::pair<Index, WeightFormat>, std::shared_ptr<const Matrix>> made_;  // guarded by mutex_
};

}  // namespace sparse_engine
